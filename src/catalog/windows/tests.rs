//! Against a service that cuts listings, in any order and with any reading of
//! the bounds.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Edges {
    Exclusive,
    Inclusive,
    Ignored,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Arbitrary,
    Newest,
    Oldest,
}

#[derive(Clone, Copy, Debug)]
enum Reading {
    /// Bounds and dates are compared as they are shown.
    Shown,
    /// Bounds are read as moments, the repeated hour as its first pass.
    Moments,
}

#[derive(Clone, Debug)]
struct Service {
    /// Seconds since the Unix epoch, in order of listing.
    files: Vec<i64>,
    cap: usize,
    edges: Edges,
    reading: Reading,
    listings: usize,
}

impl Service {
    fn new(mut files: Vec<i64>, cap: usize, edges: Edges, order: Order) -> Self {
        match order {
            Order::Arbitrary => fastrand::Rng::with_seed(7).shuffle(&mut files),
            Order::Newest => files.sort_unstable_by_key(|date| std::cmp::Reverse(*date)),
            Order::Oldest => files.sort_unstable(),
        }
        Self {
            files,
            cap,
            edges,
            reading: Reading::Shown,
            listings: 0,
        }
    }

    fn moment(local: i64) -> i64 {
        time::parse(&time::format(local).unwrap()).unwrap()
    }

    /// Numbers and dates of the files.
    fn list(&mut self, after: Option<i64>, before: Option<i64>) -> Vec<(usize, i64)> {
        self.listings += 1;
        let key = |file: i64| match self.reading {
            Reading::Shown => time::local(file),
            Reading::Moments => file,
        };
        let bound = |local: i64| match self.reading {
            Reading::Shown => local,
            Reading::Moments => Self::moment(local),
        };
        let (after, before) = (after.map(bound), before.map(bound));
        let fits = |file: i64| {
            let file = key(file);
            match self.edges {
                Edges::Exclusive => {
                    after.is_none_or(|after| after < file)
                        && before.is_none_or(|before| file < before)
                }
                Edges::Inclusive => {
                    after.is_none_or(|after| after <= file)
                        && before.is_none_or(|before| file <= before)
                }
                Edges::Ignored => true,
            }
        };
        self.files
            .iter()
            .enumerate()
            .filter(|(_, file)| fits(**file))
            .take(self.cap)
            .map(|(number, file)| (number, time::local(*file)))
            .collect()
    }

    fn sweep(&mut self) -> Result<BTreeSet<usize>, Obstacle> {
        let dates = self.list(None, None).iter().map(|file| file.1).collect();
        let mut sweep = Sweep::plan(dates, self.files.len() as u64, self.cap)?;
        let mut found = BTreeSet::new();
        while let Some(window) = sweep.next() {
            assert!(self.listings < 5_000, "it goes on for ever: {window:?}");
            let (after, before) = window.bounds();
            let files = self.list(after, before);
            let dates: Vec<_> = files.iter().map(|file| Some(file.1)).collect();
            if sweep.answer(window, &dates)? {
                found.extend(files.iter().map(|file| file.0));
            }
        }
        Ok(found)
    }

    fn fullest(&self) -> usize {
        let mut dates: Vec<_> = self.files.iter().map(|file| time::local(*file)).collect();
        dates.sort_unstable();
        dates
            .chunk_by(|left, right| left == right)
            .map(<[_]>::len)
            .max()
            .unwrap_or(0)
    }
}

fn spread(count: usize, seconds: i64) -> Vec<i64> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..count)
        .map(|_| 1_700_000_000 + random.i64(0..seconds))
        .collect()
}

/// One listing that is cut, and then as few as can be.
#[test]
fn windows_are_few() {
    for (files, listings) in [(5_001, 3), (12_000, 4), (20_000, 6), (100_000, 25)] {
        let mut service = Service::new(
            spread(files, 10_000_000),
            5_000,
            Edges::Exclusive,
            Order::Arbitrary,
        );
        assert_eq!(service.sweep().unwrap().len(), files);
        assert_eq!(service.listings, listings, "{files} files");
    }
}

#[test]
fn a_service_that_lists_in_order_costs_more() {
    for order in [Order::Newest, Order::Oldest] {
        for (files, listings) in [(12_000, 8), (20_000, 14)] {
            let mut service =
                Service::new(spread(files, 10_000_000), 5_000, Edges::Inclusive, order);
            assert_eq!(service.sweep().unwrap().len(), files);
            assert!(
                service.listings <= listings,
                "{files} files {order:?}: {}",
                service.listings
            );
        }
    }
}

#[test]
fn one_second_with_too_many_files_is_told() {
    for edges in [Edges::Exclusive, Edges::Inclusive] {
        let mut files = spread(100, 1_000);
        files.extend([1_700_000_500; 60]);
        let mut service = Service::new(files, 50, edges, Order::Arbitrary);
        let date = time::local(1_700_000_500);
        assert_eq!(service.sweep(), Err(Obstacle::OneSecond(date)));
        assert!(service.listings < 20, "{}", service.listings);
    }
}

/// Full seconds side by side, each of which can be listed.
#[test]
fn full_neighbours_are_told_apart() {
    for edges in [Edges::Exclusive, Edges::Inclusive] {
        let files = (0..490).map(|number| 1_700_000_000 + number / 49).collect();
        let mut service = Service::new(files, 50, edges, Order::Arbitrary);
        assert_eq!(service.sweep().unwrap().len(), 490, "{edges:?}");
    }
}

#[test]
fn filters_without_effect_are_noticed() {
    let mut service = Service::new(spread(120, 1_000), 50, Edges::Ignored, Order::Arbitrary);
    assert!(matches!(service.sweep(), Err(Obstacle::Ignored { .. })));
    assert_eq!(service.listings, 2, "at once");
}

#[test]
fn texts_name_dates() {
    let window = Window::new(Some(0), Some(59));
    assert_eq!(
        window.to_string(),
        "from 1970-01-01 00:00:00 to 1970-01-01 00:00:59"
    );
    assert_eq!(
        Sweep::plan(Vec::new(), 9, 5).unwrap_err(),
        Obstacle::NoDates
    );
}

fn edges() -> impl Strategy<Value = Edges> {
    prop_oneof![Just(Edges::Exclusive), Just(Edges::Inclusive)]
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        Just(Order::Arbitrary),
        Just(Order::Newest),
        Just(Order::Oldest)
    ]
}

/// Some dates far apart, some close together, some in the odd hours.
fn dates() -> impl Strategy<Value = Vec<i64>> {
    let date = prop_oneof![
        1_600_000_000_i64..1_760_000_000,
        1_700_000_000_i64..1_700_000_030,
        // The night of 26 October 2025.
        1_761_434_000_i64..1_761_446_000,
        // The night of 29 March 2026.
        1_774_742_000_i64..1_774_750_000,
        Just(1_761_440_400_i64),
        Just(1_761_439_800_i64),
    ];
    proptest::collection::vec((date, 1_usize..6), 1..80).prop_map(|groups| {
        groups
            .into_iter()
            .flat_map(|(date, times)| std::iter::repeat_n(date, times))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Every file is found, or it is told that one date has too many.
    #[test]
    fn every_file_is_found(
        files in dates(),
        cap in 1_usize..60,
        edges in edges(),
        order in order(),
    ) {
        let mut service = Service::new(files, cap, edges, order);
        match service.sweep() {
            Ok(found) => prop_assert_eq!(found.len(), service.files.len()),
            Err(Obstacle::OneSecond(date)) => {
                // A neighbour in the repeated hour may count, too.
                let near = |file: &&i64| {
                    let away = (time::local(**file) - date).abs();
                    away == 0 || (away == 1 && time::odd_hour(time::local(**file)).is_some())
                };
                prop_assert!(service.files.iter().filter(near).count() >= cap, "{}", shown(date));
            }
            Err(other) => prop_assert!(false, "{other:?}"),
        }
        let odd = |file: &i64| time::odd_hour(time::local(*file)).is_some();
        if service.fullest() < cap && !service.files.iter().any(odd) {
            let most = 40 + 10 * service.files.len() / cap;
            prop_assert!(service.listings <= most, "{} listings", service.listings);
        }
    }

    /// However the bounds in the repeated hour are read, nothing is left out
    /// unseen.
    #[test]
    fn nothing_is_left_out_unseen(
        files in dates(),
        cap in 1_usize..60,
        edges in edges(),
        order in order(),
    ) {
        let mut service = Service::new(files, cap, edges, order);
        service.reading = Reading::Moments;
        if let Ok(found) = service.sweep() {
            prop_assert_eq!(found.len(), service.files.len());
        }
    }
}
