"""Volumes on S3, of Amazon or of another server: their URLs, and what TensorStore has to be told of them.

``s3://bucket/path/`` is at the server that the environment names (``AWS_ENDPOINT_URL``), or else at Amazon's.
``s3+https://host/bucket/path/``, as Neuroglancer writes it, names the server itself, and is what `tinybrain.volumes`
calls a volume there. TensorStore knows neither.

Credentials are never part of a URL or a spec. They are looked for where Amazon's tools look, place by place:
TensorStore's own search reads no profile unless it is named, takes seconds where there is none, and complains on stderr
of every place that is empty.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
# Any of these says that there are credentials, somewhere.
_SIGNS = (
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_MACHINE = Path("/sys/class/dmi/id")


def with_endpoint(url: str) -> str:
    """Return a URL ``s3://`` with the server that the environment names; others as they are."""
    name = next((name for name in _ENDPOINTS if os.environ.get(name)), None)
    if name is None or not url.startswith("s3://"):
        return url
    endpoint = os.environ[name].rstrip("/")
    if not re.fullmatch(r"https?://[^/@]+", endpoint):
        raise ValueError(f"{name}: got {endpoint!r}; accepted are https://HOST and http://HOST:PORT")
    return f"s3+{endpoint}/{url.removeprefix('s3://')}"


def spec(url: str) -> dict[str, Any] | None:
    """Return TensorStore's spec of the key-value store at a URL of S3, or None for other URLs."""
    found = re.fullmatch(r"s3(?:\+(https?://[^/]+)/|://)([^/|]+)/([^|]*)", url)
    if found is None:
        if re.match(r"s3(\+https?)?://[^|]*$", url):
            raise ValueError("accepted are s3://BUCKET/PATH and s3+https://HOST/BUCKET/PATH")
        return None
    endpoint, bucket, path = found.groups()
    made = {"driver": "s3", "bucket": bucket, "path": unquote(path), "aws_credentials": _credentials()}
    if endpoint:
        region = next((os.environ[name] for name in _REGIONS if os.environ.get(name)), "us-east-1")
        made |= {"endpoint": endpoint, "aws_region": region}
    return made


def _credentials() -> dict[str, str]:
    """Return where credentials come from: environment, file, what the machine has; or that there are none."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {"type": "environment"}
    profile = os.environ.get("AWS_PROFILE") or "default"
    keys, config = (
        os.path.expanduser(os.environ.get(name) or f"~/.aws/{file}")
        for name, file in (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config"))
    )
    profiles = configparser.RawConfigParser(strict=False)
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        profiles.read(keys)
    if profiles.has_option(profile, "aws_access_key_id"):
        config = config if os.path.exists(config) else os.devnull
        return {"type": "profile", "profile": profile, "credentials_file": keys, "config_file": config}
    named = any(os.environ.get(name) for name in _SIGNS)
    if named or os.path.exists(keys) or os.path.exists(config) or _is_amazons():
        return {"type": "default", "profile": profile}
    return {"type": "anonymous"}


def _is_amazons() -> bool:
    """Whether this is a machine of Amazon's, which may have a role."""
    try:
        return any("amazon" in (_MACHINE / name).read_text().lower() for name in ("sys_vendor", "bios_version"))
    except OSError:
        return False
