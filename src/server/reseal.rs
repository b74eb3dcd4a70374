//! A rotation of `SECRETS` carried through: what the former keys sealed is sealed again, and the log says which may go.

use crate::platform::config::Config;
use crate::platform::d1::Database;
use crate::platform::error::Result;
use crate::platform::id::Millis;
use crate::platform::log::note;
use crate::server::store::sealed::{KeyNeeds, seal_again};

/// What a run of cron found of the former keys, over all databases.
pub struct Rotation {
    /// What needs each former key still, in the order of `SECRETS`.
    needs: Vec<KeyNeeds>,
    /// Whether every database was read.
    pub is_complete: bool,
}

impl Rotation {
    /// Nothing found yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { needs: config.keyring.former_key_ids().map(|_| KeyNeeds::default()).collect(), is_complete: true }
    }

    /// Seals the values of each former key in one database again. Asks nothing where `SECRETS` has one value.
    ///
    /// # Errors
    /// If D1 does not answer, or the platform has no randomness.
    pub async fn carry_through(&mut self, db: &Database, config: &Config, now: Millis) -> Result<()> {
        for (key_id, needs) in config.keyring.former_key_ids().zip(&mut self.needs) {
            *needs += seal_again(db, config, key_id, now).await?;
        }
        Ok(())
    }

    /// Says in the log, for each former key, whether anything needs it still.
    pub fn report(&self, config: &Config) {
        for (at, (key_id, needs)) in config.keyring.former_key_ids().zip(&self.needs).enumerate() {
            note("secrets", &format!("value {} of SECRETS (key {key_id}) {}", at + 2, self.judge(*needs)));
        }
    }

    fn judge(&self, needs: KeyNeeds) -> String {
        if !self.is_complete {
            return "is still needed: not every database could be read".to_owned();
        }
        if needs.is_nothing() {
            return "seals nothing that lasts: take it out once it has not been the first for SESSION_SECONDS"
                .to_owned();
        }
        let KeyNeeds { sealed, outbox, passwords, backup_codes } = needs;
        format!(
            "is still needed: {sealed} sealed values, {outbox} messages to be sent, {passwords} passwords, {backup_codes} sets of backup codes"
        )
    }
}
