//! What `on_healthcheck` answers (DM-3).

pub use crate::message::HealthLevel;

/// A level and a short tag (64 bytes at most) that says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// How well it is.
    pub level: HealthLevel,
    /// Why.
    pub tag: String,
}

impl Health {
    /// All is well.
    pub fn healthy() -> Self {
        Self {
            level: HealthLevel::Healthy,
            tag: String::new(),
        }
    }

    /// It works, but worse than it should.
    pub fn degraded(tag: impl Into<String>) -> Self {
        Self {
            level: HealthLevel::Degraded,
            tag: tag.into(),
        }
    }

    /// It should not trade.
    pub fn failing(tag: impl Into<String>) -> Self {
        Self {
            level: HealthLevel::Failing,
            tag: tag.into(),
        }
    }
}
