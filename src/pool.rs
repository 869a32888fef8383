//! Threads: one rayon pool a process, built when it first pays, and again after a fork.
//!
//! A forked child inherits the memory of the pool but not its threads, so work given to it would never be done; the
//! pool is therefore kept with the process it belongs to. The lock around it may have been held by another
//! thread at the moment of the fork and would then never open in the child, so nobody waits for it for long: without a
//! pool the calling thread does the work alone. What rayon itself makes once for all pools is made when the module is
//! loaded. This is the only file that names rayon.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::{Mutex, TryLockError};

/// More threads than this are never of use.
const MOST: usize = 512;

/// A pool, and the process it was built in.
#[derive(Clone, Copy)]
struct Kept {
    process: u32,
    threads: usize,
    /// Never dropped: calls may be running in it when a larger one takes its place.
    pool: &'static ThreadPool,
}

static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

/// Makes what the queues of all pools share, before there is a thread beside the one that forks: made by the first thread
/// of a pool and forked in the midst of it, it would never be ready in the child, and the child's threads would wait for ever.
pub fn prepare() {
    crossbeam_epoch::default_collector();
}

/// How many threads a call uses that does not say: `RAYON_NUM_THREADS`, else the processors this process may use.
pub fn cores() -> usize {
    let named = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
    named.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Looks at what is kept, or changes it; `None` if the lock does not open soon.
fn with_kept<R>(look: impl FnOnce(&mut Option<Kept>) -> R) -> Option<R> {
    for _ in 0..1000 {
        match KEPT.try_lock() {
            Ok(mut kept) => return Some(look(&mut kept)),
            Err(TryLockError::Poisoned(kept)) => return Some(look(&mut kept.into_inner())),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    None
}

/// A pool of at least `threads` threads, if one can be had.
fn pool(threads: usize) -> Option<&'static ThreadPool> {
    let process = std::process::id();
    let fits = |kept: &Kept| kept.process == process && kept.threads >= threads;
    if let Some(kept) = with_kept(|kept| kept.filter(fits))? {
        return Some(kept.pool);
    }
    // Built outside of the lock. Two threads may build one each: the second to come replaces the first. Powers of two, so
    // that calls that ask for ever more threads leave only a few pools behind.
    let threads = threads.next_power_of_two();
    let name = |i| format!("tinybrain-{i}");
    let pool: &'static ThreadPool =
        Box::leak(Box::new(ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build().ok()?));
    with_kept(|kept| *kept = Some(Kept { process, threads, pool }));
    Some(pool)
}

/// Lets a helping thread see to calls that came later, so that a short one need not wait for a long one.
pub fn give_way() {
    rayon::yield_now();
}

/// Runs `own` on this thread and `help` on `threads - 1` others, and returns when all are done.
pub fn share(threads: usize, help: &(dyn Fn() + Sync), own: impl FnOnce()) {
    let threads = threads.min(MOST);
    let Some(pool) = (threads > 1).then(|| pool(threads - 1)).flatten() else {
        return own();
    };
    pool.in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| help());
        }
        own();
    });
}

#[cfg(test)]
mod tests {
    /// Of two versions only one would be prepared, and perhaps not rayon's.
    #[test]
    fn one_version_of_the_epochs() {
        assert_eq!(include_str!("../Cargo.lock").matches("name = \"crossbeam-epoch\"").count(), 1);
    }
}
