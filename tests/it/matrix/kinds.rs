//! The faults, and where each makes sense.

use std::time::Duration;

use pluton_fichier::emulator::FaultKind::{self, *};

/// What one call meets.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) kind: FaultKind,
    /// Changes show in listings this much later, so that whoever looks what
    /// became of a call sees nothing yet.
    pub(crate) lag: Duration,
}

/// Longer than one look takes, shorter than the listing grace.
pub(crate) const LAG: Duration = Duration::from_secs(20);

/// The faults that make sense at a call.
pub(crate) fn kinds(endpoint: &str) -> Vec<FaultKind> {
    let ko = |http, message: &str| Ko {
        http,
        message: message.to_owned(),
    };
    let mut kinds = vec![
        Status(503),
        ResetBeforeAnswer,
        ResetAfterEffect,
        HtmlPage,
        EmptyBody,
        Hang,
    ];
    match endpoint {
        "upload.cgi" => {
            kinds.extend([
                ResetAtByte(700),
                ResetAtByte(100_000),
                Corrupt,
                PartialBatch(0),
                PartialBatch(1),
                Status(404),
            ]);
            kinds.extend(
                [
                    "Ne peut ouvrir le fichier destination",
                    "Pas de fichier trouvé dans l'envoi",
                    "Quelque chose de nouveau",
                ]
                .map(|text| NodeRefusal(text.to_owned())),
            );
        }
        "end.pl" => kinds.extend([
            TruncatedJson,
            EmptyLinks,
            WaitPage,
            ResetAtByte(10),
            Status(404),
        ]),
        "download" => kinds.extend([
            ResetAtByte(0),
            ResetAtByte(70_000),
            Truncate(70_000),
            Corrupt,
            TokenExpired,
            IgnoreRange,
            WrongRange,
            Status(404),
            Redirect("/?c=DB".to_owned()),
        ]),
        _ => kinds.extend([
            TruncatedJson,
            Truncate(10),
            ResetAtByte(10),
            Flood,
            Status(500),
            ko(403, "Flood detected: User Locked #223"),
            ko(403, "Only 1 location allowed at a time #887"),
            ko(200, "Something new #9"),
            Delay(Duration::from_secs(20)),
        ]),
    }
    if matches!(endpoint, "file/rm" | "file/mv" | "file/cp" | "file/rename") {
        kinds.extend([PartialBatch(0), PartialBatch(1)]);
    }
    kinds
}

/// All that a call can meet: each fault, listings that lag, and both where the
/// outcome is not told.
pub(super) fn troubles(endpoint: &str) -> Vec<Trouble> {
    let mut all = vec![Trouble {
        kind: Delay(Duration::ZERO),
        lag: LAG,
    }];
    for kind in kinds(endpoint) {
        if matches!(kind, ResetAfterEffect | EmptyBody | EmptyLinks) {
            all.push(Trouble {
                kind: kind.clone(),
                lag: LAG,
            });
        }
        all.push(Trouble {
            kind,
            lag: Duration::ZERO,
        });
    }
    all
}
