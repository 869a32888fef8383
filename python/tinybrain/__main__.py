"""``python -m tinybrain`` is the command ``tinybrain``."""

from tinybrain.cli import main

if __name__ == "__main__":
    main()
