//! What a password may mean is tried, and what worked is remembered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::{Error, Kind};
use super::secret::Password;

/// Which meaning of a password worked last. Passwords are those of the
/// configuration, so there are few.
#[derive(Debug, Default)]
pub(super) struct Passwords(Mutex<HashMap<Password, usize>>);

impl Passwords {
    fn lock(&self) -> MutexGuard<'_, HashMap<Password, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to try: first what worked last.
    pub(super) fn guess<'a>(&'a self, password: Option<&'a Password>) -> Guess<'a> {
        let candidates = password.map_or(&[][..], Password::candidates);
        let first = password
            .and_then(|password| self.lock().get(password).copied())
            .unwrap_or(0);
        let mut order: Vec<_> = (0..candidates.len())
            .filter(|number| !candidates[*number].is_empty())
            .collect();
        order.sort_by_key(|number| *number != first);
        Guess {
            passwords: self,
            password,
            order,
            at: 0,
        }
    }
}

/// One use of a password. Each of its meanings is sent once at the most.
#[derive(Debug)]
pub(super) struct Guess<'a> {
    passwords: &'a Passwords,
    password: Option<&'a Password>,
    order: Vec<usize>,
    at: usize,
}

impl<'a> Guess<'a> {
    /// What to send now; `None` when there is no password.
    pub(super) fn text(&self) -> Option<&'a str> {
        let number = *self.order.get(self.at)?;
        let text = self.password?.candidates().get(number)?;
        Some(text.as_str())
    }

    /// Takes the outcome of what was sent; `None` means that another meaning
    /// is to be sent.
    pub(super) fn settle<T>(&mut self, outcome: Result<T, Error>) -> Option<Result<T, Error>> {
        match outcome {
            Err(error) if error.is_about_password() && self.at + 1 < self.order.len() => {
                self.at += 1;
                None
            }
            // "Not provided" is the answer to none: here one was.
            Err(error) if error.kind() == Kind::Password && self.text().is_some() => {
                Some(Err(error.with_kind(Kind::WrongPassword)))
            }
            Ok(value) => {
                // Where nothing was refused the password may not have been
                // needed, and nothing is learned.
                if self.at > 0
                    && let (Some(password), Some(number)) = (self.password, self.order.get(self.at))
                {
                    self.passwords.lock().insert(password.clone(), *number);
                }
                Some(Ok(value))
            }
            outcome => Some(outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Result<(), Error> {
        Err(Error::refusal("test", 403, text))
    }

    #[test]
    fn each_meaning_once_and_first_what_worked() {
        let password = Password::new(["plain".to_owned(), "obscured".to_owned()]);
        let passwords = Passwords::default();
        let mut guess = passwords.guess(Some(&password));
        assert_eq!(guess.text(), Some("plain"));
        let wrong = || refused("Invalid password. Resource not allowed #2");
        assert!(guess.settle(wrong()).is_none());
        assert_eq!(guess.text(), Some("obscured"));
        let end = guess.settle(wrong()).unwrap().unwrap_err();
        assert_eq!(end.kind(), Kind::WrongPassword);

        let mut guess = passwords.guess(Some(&password));
        guess.settle(Ok(())).unwrap().unwrap();
        assert_eq!(passwords.guess(Some(&password)).text(), Some("plain"));
        let mut guess = passwords.guess(Some(&password));
        assert!(guess.settle(wrong()).is_none());
        guess.settle(Ok(())).unwrap().unwrap();
        let mut guess = passwords.guess(Some(&password));
        assert_eq!(guess.text(), Some("obscured"));
        assert!(guess.settle(wrong()).is_none(), "the other one once");
        assert_eq!(guess.text(), Some("plain"));
        assert!(guess.settle(wrong()).is_some());
    }

    #[test]
    fn none_configured_and_none_accepted_differ() {
        let passwords = Passwords::default();
        let asked = || refused("Password not provided. Resource not allowed #1");
        let kind = |outcome: Option<Result<(), Error>>| outcome.unwrap().unwrap_err().kind();
        let mut guess = passwords.guess(None);
        assert_eq!(guess.text(), None);
        assert_eq!(kind(guess.settle(asked())), Kind::Password);
        let password = Password::new(["x".to_owned()]);
        let mut guess = passwords.guess(Some(&password));
        assert_eq!(kind(guess.settle(asked())), Kind::WrongPassword);
        let mut guess = passwords.guess(Some(&password));
        let gone = refused("Resource not found #469");
        assert_eq!(kind(guess.settle(gone)), Kind::NotFound);
    }
}
