//! Recorded checksums as rows.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Statement, params, params_from_iter};

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
/// 320 MB on disk.
pub(super) const MOST: i64 = 2_000_000;

/// Contents that are looked up by one statement.
const BATCH: usize = 100;

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

/// Adds the checksums of a row of another database. Those that are known here
/// count, unless `replaces`.
pub(super) fn take_over(
    connection: &Connection,
    (identity, size, sums): (&[u8], i64, &[u8]),
    replaces: bool,
) -> rusqlite::Result<()> {
    let key = ContentKey::new(identity, size.cast_unsigned());
    let theirs = decode(sums);
    match replaces {
        true => record(connection, &key, &theirs, MOST),
        false => {
            let ours = find(&mut *connection.prepare_cached(FIND)?, &key)?;
            let mut all = theirs;
            if let Some((_, ours)) = ours {
                merge(&mut all, ours);
            }
            record(connection, &key, &all, MOST)
        }
    }
}

const FIND: &str = "SELECT id, sums FROM checksums WHERE lead = ?1 AND identity = ?2 AND size = ?3";

fn find(
    statement: &mut Statement<'_>,
    key: &ContentKey,
) -> rusqlite::Result<Option<(i64, Vec<Checksum>)>> {
    let by = params![key.lead(), key.identity(), key.size() as i64];
    let row = statement.query_row(by, |row| {
        let sums = row.get_ref(1)?.as_blob()?;
        Ok((row.get(0)?, decode(sums)))
    });
    row.optional()
}

/// Adds checksums to known ones; of two of one algorithm the new one counts.
pub(super) fn merge(known: &mut Vec<Checksum>, new: Vec<Checksum>) {
    known.retain(|known| new.iter().all(|sum| sum.algorithm != known.algorithm));
    known.extend(new);
    known.sort_by_key(|sum| sum.algorithm);
}

/// Adds checksums to those of a content.
pub(super) fn record(
    connection: &Connection,
    key: &ContentKey,
    sums: &[Checksum],
    most: i64,
) -> rusqlite::Result<()> {
    let known = find(&mut *connection.prepare_cached(FIND)?, key)?;
    let mut all = known
        .as_ref()
        .map_or_else(Vec::new, |(_, known)| known.clone());
    merge(&mut all, sums.to_vec());
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
    let mut sums = vec![Vec::new(); keys.len()];
    let (batches, single) = keys.as_chunks::<BATCH>();
    for (batch, sums) in batches.iter().zip(sums.chunks_mut(BATCH)) {
        look_up_batch(connection, batch, sums)?;
    }
    let mut statement = connection.prepare_cached(FIND)?;
    for (key, sums) in single.iter().zip(&mut sums[batches.len() * BATCH..]) {
        if let Some((_, found)) = find(&mut statement, key)? {
            *sums = found;
        }
    }
    Ok(sums)
}

/// One question for many contents takes half the time of one for each.
fn look_up_batch(
    connection: &Connection,
    keys: &[ContentKey; BATCH],
    sums: &mut [Vec<Checksum>],
) -> rusqlite::Result<()> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let places = vec!["?"; BATCH].join(",");
        format!("SELECT lead, identity, size, sums FROM checksums WHERE lead IN ({places})")
    });
    let mut order: Vec<_> = (0..BATCH).collect();
    order.sort_unstable_by_key(|place| keys[*place].lead());
    let mut statement = connection.prepare_cached(&SQL)?;
    let leads = order.iter().map(|place| keys[*place].lead());
    let mut rows = statement.query(params_from_iter(leads))?;
    while let Some(row) = rows.next()? {
        let lead: i64 = row.get(0)?;
        let (identity, size) = (row.get_ref(1)?.as_blob()?, row.get::<_, i64>(2)?);
        let first = order.partition_point(|place| keys[*place].lead() < lead);
        let same = order[first..]
            .iter()
            .take_while(|place| keys[**place].lead() == lead);
        for place in same {
            let key = &keys[*place];
            if key.identity() == identity && key.size() as i64 == size {
                sums[*place] = decode(row.get_ref(3)?.as_blob()?);
            }
        }
    }
    Ok(())
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
    fn many_are_looked_up_as_each_alone() {
        use crate::catalog::Whirlpool;
        let connection = database();
        // Some begin alike, some are asked for twice, some are not there.
        let key = |number: u8| {
            let mut bytes = [number / 4; 64];
            bytes[63] = number % 4;
            ContentKey::of_whirlpool(&Whirlpool::from_bytes(&bytes).unwrap(), 7)
        };
        for number in (0..200).step_by(3) {
            let digit = char::from(b"0123456789"[usize::from(number % 10)]);
            record(
                &connection,
                &key(number),
                &[sum(Algorithm::Md5, digit)],
                999,
            )
            .unwrap();
        }
        let keys: Vec<_> = (0..200).chain(90..155).map(key).collect();
        let together = look_up(&connection, &keys).unwrap();
        for (key, sums) in keys.iter().zip(&together) {
            let alone = look_up(&connection, std::slice::from_ref(key)).unwrap();
            assert_eq!(*sums, alone[0], "{key:?}");
        }
        assert_eq!(together.iter().filter(|sums| sums.is_empty()).count(), 176);
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
