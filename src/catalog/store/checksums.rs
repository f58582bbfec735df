//! Recorded checksums as rows.

use rusqlite::{Connection, OptionalExtension, params};

use crate::catalog::recorded::ContentKey;
use crate::checksum::{Algorithm, Checksum, hex, unhex};

/// `lead` is the beginning of the identity, so that the index takes little
/// room; rows lie in the order in which they were recorded, and with them the
/// files of a folder. `sums` are a number of the algorithm and its value, one
/// pair behind the other.
pub(super) const TABLE: &str = "
CREATE TABLE checksums (
    id INTEGER PRIMARY KEY, lead INTEGER NOT NULL, identity BLOB NOT NULL, size INTEGER NOT NULL, sums BLOB NOT NULL);
CREATE INDEX checksums_by_lead ON checksums (lead);
";

/// Contents whose checksums are kept; those recorded first go. That is about
/// 350 MB on disk.
pub(super) const MOST: i64 = 2_000_000;

fn number(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Whirlpool => 1,
        Algorithm::Sha256 => 2,
        Algorithm::Md5 => 3,
        Algorithm::Sha1 => 4,
        Algorithm::Blake3 => 5,
        Algorithm::Crc32c => 6,
    }
}

fn encode(sums: &[Checksum]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sum in sums {
        if let Some(value) = unhex(&sum.hex)
            && value.len() * 2 == sum.algorithm.hex_digits()
        {
            bytes.push(number(sum.algorithm));
            bytes.extend_from_slice(&value);
        }
    }
    bytes
}

/// What cannot be read was written by another version.
fn decode(mut bytes: &[u8]) -> Vec<Checksum> {
    let mut sums = Vec::with_capacity(2);
    while let Some((first, rest)) = bytes.split_first() {
        let known = Algorithm::ALL
            .into_iter()
            .find(|known| number(*known) == *first);
        let Some(algorithm) = known else { break };
        let Some((value, rest)) = rest.split_at_checked(algorithm.hex_digits() / 2) else {
            break;
        };
        sums.push(Checksum {
            algorithm,
            hex: hex(value),
        });
        bytes = rest;
    }
    sums
}

fn find(
    connection: &Connection,
    key: &ContentKey,
) -> rusqlite::Result<Option<(i64, Vec<Checksum>)>> {
    connection
        .prepare_cached(
            "SELECT id, sums FROM checksums WHERE lead = ?1 AND identity = ?2 AND size = ?3",
        )?
        .query_row(
            params![key.lead(), key.identity(), key.size() as i64],
            |row| {
                let sums = row.get_ref(1)?.as_blob()?;
                Ok((row.get(0)?, decode(sums)))
            },
        )
        .optional()
}

/// Adds checksums to those of a content; of two of one algorithm the new one
/// counts.
pub(super) fn record(
    connection: &Connection,
    key: &ContentKey,
    sums: &[Checksum],
    most: i64,
) -> rusqlite::Result<()> {
    let known = find(connection, key)?;
    let mut all = sums.to_vec();
    if let Some((_, known)) = &known {
        let is_new = |known: &&Checksum| sums.iter().all(|sum| sum.algorithm != known.algorithm);
        all.extend(known.iter().filter(is_new).cloned());
    }
    all.sort_by_key(|sum| sum.algorithm);
    match known {
        Some((_, known)) if known == all => {}
        Some((id, _)) => {
            connection
                .prepare_cached("UPDATE checksums SET sums = ?2 WHERE id = ?1")?
                .execute(params![id, encode(&all)])?;
        }
        None => {
            connection
                .prepare_cached(
                    "INSERT INTO checksums (lead, identity, size, sums) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![
                    key.lead(),
                    key.identity(),
                    key.size() as i64,
                    encode(&all)
                ])?;
            let oldest = connection.last_insert_rowid() - most;
            connection
                .prepare_cached("DELETE FROM checksums WHERE id <= ?1")?
                .execute([oldest])?;
        }
    }
    Ok(())
}

/// The checksums of contents, in order.
pub(super) fn look_up(
    connection: &Connection,
    keys: &[ContentKey],
) -> rusqlite::Result<Vec<Vec<Checksum>>> {
    keys.iter()
        .map(|key| {
            Ok(find(connection, key)?
                .map(|(_, sums)| sums)
                .unwrap_or_default())
        })
        .collect()
}

/// Whether there are any.
pub(super) fn exist(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM checksums)", [], |row| {
        row.get(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(algorithm: Algorithm, digit: char) -> Checksum {
        Checksum {
            algorithm,
            hex: digit.to_string().repeat(algorithm.hex_digits()),
        }
    }

    fn key(number: u64) -> ContentKey {
        ContentKey::of_link(&number.to_string(), 7)
    }

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLE).unwrap();
        connection
    }

    #[test]
    fn algorithms_add_up_and_sizes_differ() {
        let connection = database();
        let other = ContentKey::of_link("1", 8);
        let add = |key: &ContentKey, sums: &[Checksum]| record(&connection, key, sums, 9).unwrap();
        assert!(!exist(&connection).unwrap());
        add(&key(1), &[sum(Algorithm::Md5, 'a')]);
        add(
            &key(1),
            &[sum(Algorithm::Sha256, 'b'), sum(Algorithm::Md5, 'c')],
        );
        add(&other, &[sum(Algorithm::Crc32c, 'd')]);
        assert!(exist(&connection).unwrap());
        assert_eq!(
            look_up(&connection, &[key(1), key(2), other]).unwrap(),
            [
                vec![sum(Algorithm::Sha256, 'b'), sum(Algorithm::Md5, 'c')],
                Vec::new(),
                vec![sum(Algorithm::Crc32c, 'd')]
            ]
        );
    }

    #[test]
    fn what_was_recorded_first_goes_first() {
        let connection = database();
        for number in 0..25 {
            record(&connection, &key(number), &[sum(Algorithm::Md5, 'a')], 10).unwrap();
            // Known already: takes no more room.
            record(&connection, &key(number), &[sum(Algorithm::Md5, 'a')], 10).unwrap();
        }
        let keys: Vec<_> = (0..25).map(key).collect();
        let kept: Vec<_> = look_up(&connection, &keys)
            .unwrap()
            .iter()
            .map(|sums| sums.len())
            .collect();
        assert_eq!(kept, [vec![0; 15], vec![1; 10]].concat());
    }

    #[test]
    fn every_algorithm_is_written_and_read() {
        let all = Algorithm::ALL.map(|algorithm| sum(algorithm, '5'));
        let mut bytes = encode(&all);
        assert_eq!(decode(&bytes), all);
        bytes.push(200);
        assert_eq!(decode(&bytes), all, "an unknown one ends it");
        assert_eq!(decode(&bytes[..40]).len(), 0);
    }
}
