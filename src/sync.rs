//! Mutexes, condition variables, channels and threads of modules whose synchronisation is
//! model-checked.
//!
//! In the unit tests they are those of [shuttle](https://docs.rs/shuttle)
//! within a check (`sync/check.rs`), which runs a scenario under thousands of
//! schedules, and those of the standard library elsewhere. In the server they
//! are those of the standard library.
//!
//! A module that is to be checked takes them from here. What it uses of tokio's
//! synchronisation (`Notify`, channels, locks) stays as it is: each of its calls
//! is one step, and other tasks go on before and behind what is done under a
//! mutex. The check stands beside the module's other tests.

#[cfg(test)]
mod check;
#[cfg(test)]
mod checked;
#[cfg(test)]
pub(crate) mod mpsc;
pub(crate) mod thread;

#[cfg(not(test))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, mpsc};

#[cfg(test)]
pub(crate) use check::{check, check_some};
#[cfg(test)]
pub(crate) use checked::{Condvar, Mutex, MutexGuard, in_check};
