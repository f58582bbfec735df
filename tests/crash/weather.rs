//! What 1Fichier does to a life: listings that lag, and faults.

use std::time::Duration;

use fastrand::Rng;
use pluton_fichier::emulator::{Control, Fault, FaultKind, ListingLag};

/// How listings lag, and which faults there are.
pub(crate) struct Weather {
    control: Control,
    /// Whether listings may lag in everything and across starts.
    stays: bool,
    /// Lives for which the lag stays on.
    left: u32,
    /// Lives in which listings lagged across the start.
    pub(crate) lagging_lives: u64,
    faults: bool,
}

impl Weather {
    pub(crate) fn new(control: Control, stays: bool) -> Self {
        Self {
            control,
            stays,
            left: 0,
            lagging_lives: 0,
            faults: false,
        }
    }

    /// Before a start: no faults. The lag stays on, or all that is late is
    /// waited for.
    pub(crate) async fn before_start(&mut self) {
        self.control.clear_faults();
        self.faults = false;
        if self.left > 0 {
            self.left -= 1;
            self.lagging_lives += 1;
            return;
        }
        // What shows later than at the start is looked for minutes later.
        tokio::time::sleep(self.control.behaviour().index_delay).await;
        self.control
            .set_behaviour(|play| play.index_delay = Duration::ZERO);
    }

    /// How long listings lag now; nothing if they lag for a load only.
    pub(crate) fn lag(&self) -> Duration {
        match self.left {
            0 => Duration::ZERO,
            _ => self.control.behaviour().index_delay,
        }
    }

    /// Nothing is in the way of the server.
    pub(crate) fn is_calm(&self) -> bool {
        !self.faults
    }

    /// The end of the test is not to be disturbed.
    pub(crate) fn settle_down(&mut self) {
        self.left = 0;
    }

    /// For the load: index delays, resets, refusals of nodes.
    pub(crate) fn change(&mut self, random: &mut Rng) {
        if self.stays && self.left == 0 && random.u8(..4) == 0 {
            self.left = random.u32(1..5);
            let delay = Duration::from_millis(random.u64(300..3_000));
            self.set_lag(ListingLag::Everything, delay);
        }
        match random.u8(..6) {
            0 if self.left == 0 => {
                let delay = Duration::from_millis(random.u64(50..600));
                self.set_lag(ListingLag::UploadsAndRemovals, delay);
            }
            1 | 2 => self.make_faults(random),
            _ => {}
        }
    }

    fn set_lag(&mut self, lag: ListingLag, delay: Duration) {
        self.control.set_behaviour(|play| {
            play.listing_lag = lag;
            play.index_delay = delay;
        });
    }

    fn make_faults(&mut self, random: &mut Rng) {
        self.faults = true;
        let kinds = [
            FaultKind::ResetAfterEffect,
            FaultKind::ResetBeforeAnswer,
            FaultKind::Status(503),
            FaultKind::EmptyBody,
            FaultKind::Delay(Duration::from_millis(100)),
            // The answer is lost with the server.
            FaultKind::HangAfterEffect,
        ];
        for endpoint in ["file/*", "folder/*", "upload.cgi", "end.pl", "download"] {
            let kind = kinds[random.usize(..kinds.len())].clone();
            self.control.inject(Fault {
                endpoint: endpoint.to_owned(),
                skip: random.u32(..6),
                times: 1,
                kind,
            });
        }
    }
}
