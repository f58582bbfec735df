//! The refusals of `/v1`: an HTTP status and a message [API A].

/// A KO answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
}

/// Numbers seen with floods over the years, the four-digit one included [API A.2].
const FLOOD_NUMBERS: [u32; 3] = [374, 412, 1032];

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            message: message.into(),
        }
    }

    /// A refusal that comes with status 200, like most of those without a number.
    pub(super) fn ko(message: impl Into<String>) -> Refusal {
        Refusal::new(200, message)
    }

    /// A rate lock of the address; `turn` picks the number.
    pub(super) fn flood(turn: u64) -> Refusal {
        let number = FLOOD_NUMBERS
            .into_iter()
            .cycle()
            .nth((turn.wrapping_sub(1) % 3) as usize)
            .unwrap_or(374);
        Refusal::new(403, format!("Flood detected: IP Locked #{number}"))
    }

    /// A rate lock of the account.
    pub(super) fn user_flood() -> Refusal {
        Refusal::new(403, "Flood detected: User Locked #223")
    }

    /// A ban of the address.
    pub(super) fn banned() -> Refusal {
        Refusal::new(403, "IP Locked #79")
    }

    pub(super) fn not_found() -> Refusal {
        Refusal::new(404, "Resource not found #469")
    }

    pub(super) fn not_allowed() -> Refusal {
        Refusal::new(403, "Resource not allowed #631")
    }

    pub(super) fn not_authenticated() -> Refusal {
        Refusal::new(401, "Not authenticated #247")
    }

    pub(super) fn bad_name() -> Refusal {
        Refusal::ko("Bad filename characters")
    }

    /// A member of the request that is missing or of the wrong type. The text is invented: no
    /// source shows one.
    pub(super) fn bad_member(name: &str) -> Refusal {
        Refusal::new(400, format!("Bad parameter {name} #51"))
    }

    /// Whether this is a rate lock, which does not count towards a ban.
    pub(super) fn is_flood(&self) -> bool {
        self.message.contains("Locked")
    }
}
