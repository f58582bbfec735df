//! What an error of SQLite means for what is kept.

use std::fmt;

use rusqlite::{Error, ErrorCode};

/// Why something could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The disk is full, another program holds the database, or the disk does
    /// not answer: the same may work later.
    Passing(String),
    /// What is on disk is damaged, or has another layout.
    Damage(String),
    /// One thing cannot be written, whenever it is tried.
    Faulty(String),
}

impl Trouble {
    /// For people.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Passing(text) | Self::Damage(text) | Self::Faulty(text) => text,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let code = match &error {
            Error::SqliteFailure(failure, _) => failure.code,
            // The statements are fixed: a table or a column is missing.
            Error::SqlInputError { .. } => return Self::Damage(text),
            // A value is not what was written.
            Error::FromSqlConversionFailure(..)
            | Error::InvalidColumnType(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..) => return Self::Damage(text),
            _ => return Self::Faulty(text),
        };
        match code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damage(text),
            // "No such table", where that is noticed late.
            ErrorCode::Unknown if text.contains("no such") => Self::Damage(text),
            ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::ApiMisuse => Self::Faulty(text),
            // A full disk, another program's lock, an error of the disk, no
            // memory, a directory that may not be written to: an operator can
            // mend each of them.
            _ => Self::Passing(text),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Passing(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, ffi};

    use super::*;

    fn of(code: i32) -> Trouble {
        Error::SqliteFailure(ffi::Error::new(code), None).into()
    }

    #[test]
    fn errors_are_told_apart() {
        for code in [
            ffi::SQLITE_FULL,
            ffi::SQLITE_BUSY,
            ffi::SQLITE_LOCKED,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_SHMSIZE,
            ffi::SQLITE_CANTOPEN,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_NOMEM,
            ffi::SQLITE_PROTOCOL,
        ] {
            assert!(matches!(of(code), Trouble::Passing(_)), "{code}");
        }
        for code in [
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_CORRUPT_INDEX,
            ffi::SQLITE_NOTADB,
        ] {
            assert!(matches!(of(code), Trouble::Damage(_)), "{code}");
        }
        for code in [ffi::SQLITE_CONSTRAINT, ffi::SQLITE_TOOBIG] {
            assert!(matches!(of(code), Trouble::Faulty(_)), "{code}");
        }
        let connection = Connection::open_in_memory().unwrap();
        let missing = connection.execute("DELETE FROM missing", []).unwrap_err();
        assert!(matches!(missing.into(), Trouble::Damage(_)));
        let text = connection.query_row("SELECT 'x'", [], |row| row.get::<_, i64>(0));
        assert!(matches!(text.unwrap_err().into(), Trouble::Damage(_)));
    }
}
