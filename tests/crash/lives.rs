//! One life after the other: start, look at what is there, work, die.

mod settle;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use pluton_fichier::emulator::{self, Control, DEMO_API_KEY, Emulator};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::client::Owner;
use crate::expected::Wrong;
use crate::operation::Client;
use crate::others::Others;
use crate::program::Program;
use crate::report::{Report, counted};
use crate::shared::{Hand, Shared, with};
use crate::weather::Weather;

const CLIENTS: usize = 6;
/// Parts of the tree that a second program changes.
const SHARED: usize = 8;
/// Calls a second in the lives that keep limits.
const SLOW: u32 = 3;

/// What happens in these lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kinds {
    pub(crate) seed: u64,
    /// How long a start may take to clear up.
    pub(crate) recovery: Duration,
    /// Listings may lag in everything and across starts.
    pub(crate) lag: bool,
    /// How much longer it may take then, as it has to look again.
    pub(crate) late: Duration,
    /// A second program is at work.
    pub(crate) others: bool,
    /// Clients may go on without asking what became of a request.
    pub(crate) bold: bool,
}

/// An account, and all that happens to it.
pub(crate) struct Lives {
    kinds: Kinds,
    emulator: Emulator,
    control: Control,
    home: TempDir,
    random: Rng,
    weather: Weather,
    owners: Vec<Owner>,
    shared: Vec<Shared>,
    others: Option<Hand>,
    deaths: Vec<Instant>,
    in_flight: BTreeMap<&'static str, u64>,
    repeated: u64,
    longest_recovery: Duration,
    /// Starts that took longer than they may without lag.
    late: u64,
    /// Writes that were still looked after when all was as it should be.
    left: i64,
    report: Report,
}

impl Lives {
    pub(crate) async fn new(kinds: Kinds) -> Self {
        let options = emulator::Options {
            limits: emulator::Limits::none(),
            seed: kinds.seed,
            ..emulator::Options::default()
        };
        let emulator = Emulator::start(options).await.unwrap();
        let home = tempfile::tempdir().unwrap();
        let key = home.path().join("key");
        std::fs::write(&key, DEMO_API_KEY).unwrap();
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        let control = emulator.control();
        let others = kinds
            .others
            .then(|| Arc::new(Mutex::new(Others::new(control.clone(), kinds.seed))));
        Self {
            kinds,
            weather: Weather::new(control.clone(), kinds.lag),
            control,
            emulator,
            home,
            random: Rng::with_seed(kinds.seed),
            owners: (0..CLIENTS)
                .map(|number| Owner::new("client", number, kinds.seed))
                .collect(),
            shared: (0..if kinds.others { SHARED } else { 0 })
                .map(|number| Shared::new(number, kinds.seed))
                .collect(),
            others,
            deaths: Vec::new(),
            in_flight: BTreeMap::new(),
            repeated: 0,
            longest_recovery: Duration::ZERO,
            late: 0,
            left: 0,
            report: Report::default(),
        }
    }

    fn clients(&self) -> impl Iterator<Item = &Owner> {
        let shared = self.shared.iter().map(|shared| &shared.owner);
        self.owners.iter().chain(shared)
    }

    fn clients_mut(&mut self) -> impl Iterator<Item = &mut Owner> {
        let shared = self.shared.iter_mut().map(|shared| &mut shared.owner);
        self.owners.iter_mut().chain(shared)
    }

    /// From one start to the next kill.
    pub(crate) async fn lead(&mut self) {
        let slow = self.random.u8(..12) == 0;
        let mut program = self.start(if slow { SLOW } else { 0 }).await;
        let client = program.connect().await;
        // Some clients come back at once, while the server clears up.
        let impatient = self.random.bool();
        // Under the limits repeats take long.
        let cut_short = slow || self.random.u8(..5) == 0;
        if impatient || cut_short {
            let moment = self.random.u64(..150);
            let die = cut_short.then(|| Duration::from_millis(moment));
            let dead = self.come_back(&client, &mut program, die).await;
            if dead {
                self.count_kill();
                return;
            }
        }
        // Under the limits a look at everything takes minutes: the next life has
        // it. Clients that wait for an answer wait on.
        if !slow && !self.settled(&client).await {
            program.kill().await;
            self.count_kill();
            return;
        }
        self.weather.change(&mut self.random);
        self.tell_weather();
        let killed = Arc::new(AtomicBool::new(false));
        let alive = self.load(&client, &mut program, &killed).await;
        self.count_kill();
        if !alive {
            self.report
                .problem(Wrong::Refused.at("the server ended by itself"));
        }
        let pending: Vec<_> = self
            .clients()
            .filter_map(|owner| Some(owner.pending.as_ref()?.operation.name()))
            .collect();
        for name in pending {
            *self.in_flight.entry(name).or_default() += 1;
        }
        self.gather();
    }

    /// Everybody works until the server is killed. Whether it lived until then.
    async fn load(
        &mut self,
        client: &Client,
        program: &mut Program,
        killed: &Arc<AtomicBool>,
    ) -> bool {
        let working = self.owners.drain(..).map(|owner| {
            let (client, killed) = (client.clone(), Arc::clone(killed));
            tokio::spawn(async move { owner.work(client, &killed).await })
        });
        let working: Vec<_> = working.collect();
        let lag = self.weather.lag();
        let mut sharing = Vec::new();
        if let Some(others) = &self.others {
            for shared in self.shared.drain(..) {
                let (client, killed, others) =
                    (client.clone(), Arc::clone(killed), Arc::clone(others));
                sharing.push(tokio::spawn(async move {
                    shared.work(client, &killed, others, lag).await
                }));
            }
        }
        let end = Instant::now() + moment(&mut self.random);
        while Instant::now() < end {
            if let Some(others) = &self.others {
                with(others, Others::work);
            }
            let pause = Duration::from_millis(self.random.u64(1..40));
            tokio::time::sleep_until(end.min(Instant::now() + pause)).await;
        }
        killed.store(true, Ordering::Relaxed);
        let alive = program.is_alive();
        program.kill().await;
        for owner in join_all(working).await {
            self.owners.push(owner.unwrap());
        }
        for shared in join_all(sharing).await {
            self.shared.push(shared.unwrap());
        }
        alive
    }

    /// The last start: all must be right, and is not disturbed any more.
    pub(crate) async fn end(&mut self) {
        self.weather.settle_down();
        let program = self.start(0).await;
        let client = program.connect().await;
        self.settled(&client).await;
    }

    async fn start(&mut self, calls_per_second: u32) -> Program {
        self.weather.before_start().await;
        self.tell_weather();
        let program =
            Program::start(self.home.path(), &self.emulator.api_url(), calls_per_second).await;
        // What was buffered is of no use any more.
        let left = std::fs::read_dir(self.home.path().join("state/spool")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        if !left.is_empty() {
            self.report
                .problem(Wrong::Stray.at(format!("buffers are left: {left:?}")));
        }
        program
    }

    fn tell_weather(&mut self) {
        let is_calm = self.weather.is_calm();
        for owner in self.clients_mut() {
            owner.is_calm = is_calm;
        }
    }

    /// What had no answer is asked for again, or given up by clients that go on
    /// without it. Whether the server is to die now, because its time came
    /// meanwhile.
    async fn come_back(
        &mut self,
        client: &Client,
        program: &mut Program,
        die: Option<Duration>,
    ) -> bool {
        let killed = Arc::new(AtomicBool::new(false));
        self.repeated += self
            .clients()
            .filter(|owner| owner.pending.is_some())
            .count() as u64;
        let lag = self.weather.lag().as_millis() as u64;
        let mut returns = Vec::new();
        for owner in self.owners.drain(..) {
            // Sooner and later than what is late shows.
            let wait = Duration::from_millis(self.random.u64(..=2 * lag));
            let bold = self.kinds.bold && self.random.u8(..3) == 0;
            let bold = bold.then_some(wait);
            let (client, killed) = (client.clone(), Arc::clone(&killed));
            returns.push(tokio::spawn(async move {
                owner.come_back(client, &killed, bold).await
            }));
        }
        let mut shared_returns = Vec::new();
        for mut shared in self.shared.drain(..) {
            let (client, killed) = (client.clone(), Arc::clone(&killed));
            shared_returns.push(tokio::spawn(async move {
                shared.owner = shared.owner.come_back(client, &killed, None).await;
                shared
            }));
        }
        if let Some(moment) = die {
            tokio::time::sleep(moment).await;
            killed.store(true, Ordering::Relaxed);
            program.kill().await;
        }
        for owner in join_all(returns).await {
            self.owners.push(owner.unwrap());
        }
        for shared in join_all(shared_returns).await {
            self.shared.push(shared.unwrap());
        }
        self.gather();
        die.is_some()
    }

    fn count_kill(&mut self) {
        self.report.kills += 1;
        self.deaths.push(Instant::now());
    }

    fn gather(&mut self) {
        let mut anew = Vec::new();
        for owner in &mut self.owners {
            if !owner.problems.is_empty() {
                tell(owner);
                anew.append(&mut owner.problems);
                owner.begin_anew();
            }
        }
        for shared in &mut self.shared {
            if !shared.owner.problems.is_empty() {
                tell(&shared.owner);
                anew.append(&mut shared.owner.problems);
                shared.begin_anew();
            }
        }
        if let Some(others) = &self.others {
            let foreign = with(others, Others::take_problems);
            if !foreign.is_empty() {
                let suspects = self.shared.iter().filter(|shared| shared.is_stale());
                suspects.for_each(|shared| tell(&shared.owner));
            }
            anew.extend(foreign);
        }
        for problem in anew {
            self.report.problem(problem);
        }
    }

    pub(crate) fn is_hopeless(&self, most: Option<u64>) -> bool {
        self.report.is_hopeless(most)
    }

    fn acknowledged(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (name, count) in self.clients().flat_map(|owner| &owner.acknowledged) {
            *all.entry(*name).or_default() += count;
        }
        all
    }

    pub(crate) fn did_something(&self) -> bool {
        let acknowledged: u64 = self.acknowledged().values().sum();
        let in_flight: u64 = self.in_flight.values().sum();
        acknowledged > 10 * self.report.kills && in_flight > self.report.kills
    }

    /// How often a client worked on what a second program had changed.
    pub(crate) fn rounds(&self) -> u64 {
        self.shared.iter().map(|shared| shared.rounds).sum()
    }

    pub(crate) fn summary(&self) -> String {
        let bold: u64 = self.clients().map(|owner| owner.bold).sum();
        let mut text = format!(
            "{} kills; acknowledged {}; in flight when killed {}; repeated {}, given up {bold}; \
             longest recovery {:.1} s, {} looked after for longer\n\
             {} lives while listings lagged, {} of them late",
            self.report.kills,
            counted(&self.acknowledged()),
            counted(&self.in_flight),
            self.repeated,
            self.longest_recovery.as_secs_f64(),
            self.left,
            self.weather.lagging_lives,
            self.late,
        );
        if let Some(others) = &self.others {
            let (own, disturbances) =
                with(others, |others| (others.own, others.disturbances.clone()));
            text += &format!(
                "; a second program made {own} changes of its own and {} of others', \
                 which {} rounds of requests met",
                counted(&disturbances),
                self.rounds(),
            );
        }
        format!("{text}\n{}", self.report.found())
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    pub(crate) fn assert_nothing_wrong(&self) {
        self.report
            .assert_nothing_wrong(self.kinds.seed, &self.log());
    }
}

/// What happened to a client's files lately.
fn tell(owner: &Owner) {
    println!("{}, as its client knows it:", owner.root());
    let now = Instant::now();
    for (at, what) in owner.diary() {
        println!("  {:8.3} s ago: {what}", (now - *at).as_secs_f64());
    }
}

/// When it dies: soon after the start as often as late.
fn moment(random: &mut Rng) -> Duration {
    let most = [30, 200, 1_000][random.usize(..3)];
    Duration::from_millis(random.u64(3..most))
}
