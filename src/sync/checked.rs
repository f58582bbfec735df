//! A mutex, and a condition variable, that are shuttle's within a check.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError};
use std::time::Duration;

/// Which of the two it is, is settled when it is made.
pub(crate) enum Mutex<T> {
    Plain(std::sync::Mutex<T>),
    Checked(shuttle::sync::Mutex<T>),
}

pub(crate) enum MutexGuard<'a, T> {
    Plain(std::sync::MutexGuard<'a, T>),
    Checked(CheckedGuard<'a, T>),
}

/// Fields are dropped in this order.
pub(crate) struct CheckedGuard<'a, T> {
    guard: shuttle::sync::MutexGuard<'a, T>,
    _point: Point,
}

/// Where other tasks may go on. shuttle has one before each of its calls, and
/// none behind an unlock: what comes next is a call of tokio's, of which it
/// knows nothing.
struct Point;

impl Drop for Point {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // It does not wait, and does not yield either.
            shuttle::thread::sleep(Duration::ZERO);
        }
    }
}

/// Whether this is part of a check.
pub(crate) fn in_check() -> bool {
    shuttle::current::try_get_current_task().is_some()
}

fn checked<T>(guard: shuttle::sync::MutexGuard<'_, T>) -> MutexGuard<'_, T> {
    MutexGuard::Checked(CheckedGuard {
        guard,
        _point: Point,
    })
}

fn wrapped<G, W>(locked: LockResult<G>, wrap: impl Fn(G) -> W) -> LockResult<W> {
    match locked {
        Ok(guard) => Ok(wrap(guard)),
        Err(poisoned) => Err(PoisonError::new(wrap(poisoned.into_inner()))),
    }
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        match in_check() {
            true => Self::Checked(shuttle::sync::Mutex::new(value)),
            false => Self::Plain(std::sync::Mutex::new(value)),
        }
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        match self {
            Self::Plain(mutex) => wrapped(mutex.lock(), MutexGuard::Plain),
            Self::Checked(mutex) => wrapped(mutex.lock(), checked),
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(mutex) => mutex.fmt(f),
            Self::Checked(mutex) => mutex.fmt(f),
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Plain(guard) => guard,
            Self::Checked(checked) => &checked.guard,
        }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Plain(guard) => guard,
            Self::Checked(checked) => &mut checked.guard,
        }
    }
}

/// Which of the two it is, is settled by the mutex that it is used with.
#[derive(Debug)]
pub(crate) struct Condvar {
    plain: std::sync::Condvar,
    checked: shuttle::sync::Condvar,
}

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self {
            plain: std::sync::Condvar::new(),
            checked: shuttle::sync::Condvar::new(),
        }
    }

    pub(crate) fn notify_one(&self) {
        self.plain.notify_one();
        if in_check() {
            self.checked.notify_one();
        }
    }

    pub(crate) fn notify_all(&self) {
        self.plain.notify_all();
        if in_check() {
            self.checked.notify_all();
        }
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        match guard {
            MutexGuard::Plain(guard) => wrapped(self.plain.wait(guard), MutexGuard::Plain),
            MutexGuard::Checked(CheckedGuard { guard, .. }) => {
                wrapped(self.checked.wait(guard), checked)
            }
        }
    }

    /// Within a check no time passes: it waits until it is woken.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        longest: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        match guard {
            MutexGuard::Plain(guard) => {
                wrapped(self.plain.wait_timeout(guard, longest), |(guard, over)| {
                    (MutexGuard::Plain(guard), over.timed_out())
                })
            }
            guard @ MutexGuard::Checked(_) => wrapped(self.wait(guard), |guard| (guard, false)),
        }
    }
}
