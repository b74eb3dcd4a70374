//! D1: statements with lossless parameters, run in batches. A batch is one transaction and one round trip.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsValue;
use worker::{D1Database, D1Result, Env};

use crate::platform::error::{Error, Wire};
use crate::platform::id::{Id, Millis};
use crate::platform::secret::{TokenHash, TokenKind};

/// Why D1 did not do it.
#[derive(Debug)]
pub enum StoreError {
    /// A UNIQUE constraint: the column that it is on, as `table.column`. Nothing of the batch was done.
    Conflict(String),
    /// [`must_change`] found that nothing was. Nothing of the batch was done.
    Unchanged,
    /// A condition that a statement made, or a named CHECK constraint: its name. Nothing of the batch was done.
    Broken(String),
    /// What the request was authenticated by has ended since ([`Database::hold_to`]). Nothing of the batch was done.
    Ended(Holder),
    /// D1 failed, or answered what cannot be.
    Failed(String),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(column) => Self::Storage(format!("conflict on {column} that nobody expected")),
            StoreError::Unchanged => Self::Storage("nothing changed where something had to".to_owned()),
            StoreError::Broken(name) if name == OVER => {
                // When the window ends is not known here: none that breaks batches is shorter than what a program waits.
                Self::TooManyRequests { retry_after: 60, limit: "what one network may have us keep" }
            }
            StoreError::Broken(name) if name == LOST => Self::refused(Wire::FORBIDDEN, "lost the permission meanwhile"),
            StoreError::Broken(name) if name == ISSUER_CHANGED => {
                Self::refused(Wire::ISSUER_CHANGED, "the issuer was changed while it named somebody")
            }
            StoreError::Broken(name) => Self::Storage(format!("{name}, which nobody expected")),
            StoreError::Ended(Holder::Session) => Self::refused(Wire::UNAUTHORIZED, "the session ended meanwhile"),
            StoreError::Ended(Holder::Key) => Self::refused(Wire::INVALID_API_KEY, "the key ended meanwhile"),
            StoreError::Failed(text) => Self::Storage(text),
        }
    }
}

/// What a request is authenticated by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A session.
    Session,
    /// A program's key.
    Key,
}

/// What a store function answers.
pub type Stored<T> = Result<T, StoreError>;

/// A parameter. Integers travel as IEEE doubles, which hold them exactly up to 2^53; `D1Type::Integer` stops at 2^31.
pub struct Parameter(JsValue);

impl From<&str> for Parameter {
    fn from(text: &str) -> Self {
        Self(JsValue::from_str(text))
    }
}

impl From<&String> for Parameter {
    fn from(text: &String) -> Self {
        Self(JsValue::from_str(text))
    }
}

impl From<String> for Parameter {
    fn from(text: String) -> Self {
        Self(JsValue::from_str(&text))
    }
}

impl<T> From<&Id<T>> for Parameter {
    fn from(id: &Id<T>) -> Self {
        Self(JsValue::from_str(id.as_str()))
    }
}

impl<K: TokenKind> From<&TokenHash<K>> for Parameter {
    fn from(hash: &TokenHash<K>) -> Self {
        Self(JsValue::from_str(hash.as_str()))
    }
}

impl From<Millis> for Parameter {
    fn from(number: Millis) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "times and counts stay far below 2^53")]
        Self(JsValue::from_f64(number as f64))
    }
}

impl From<bool> for Parameter {
    fn from(value: bool) -> Self {
        Self(JsValue::from_f64(if value { 1.0 } else { 0.0 }))
    }
}

impl<T: Into<Self>> From<Option<T>> for Parameter {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self(JsValue::null()), Into::into)
    }
}

/// A statement and its parameters.
#[derive(Clone)]
pub struct Statement {
    text: &'static str,
    parameters: Vec<JsValue>,
}

/// What statements break with that ask again whether a permit holds.
const LOST: &str = "permit";

/// Begins a statement whose parameters are positions (`?1`). [`sql!`](crate::platform::sql::sql) names them.
#[must_use]
pub const fn begin(text: &'static str) -> Statement {
    Statement { text, parameters: Vec::new() }
}

/// What [`must_change`] fails with: SQLite quotes the path that is none.
const UNCHANGED: &str = "doorward:unchanged";

/// What a statement fails with that holds the batch to a condition: `json_extract('{}', iif(…, '$', 'doorward:broken:name'))`.
const BROKEN: &str = "doorward:broken:";

/// A statement that fails, and its whole batch with it, unless the one before it changed something: what depends on a
/// condition is then written without repeating it.
#[must_use]
pub const fn must_change() -> Statement {
    begin("select json_extract('{}', iif(changes() > 0, '$', 'doorward:unchanged')) as row")
}

/// What a statement breaks with that asks whether a session, or a key, still holds.
const ENDED: [(&str, Holder); 2] = [("session", Holder::Session), ("key", Holder::Key)];

impl Statement {
    /// Whether it may change something. What is no plain `select` counts as if it did.
    fn writes(&self) -> bool {
        !self.text.starts_with("select")
    }

    /// Binds the next parameter: the first is `?1`.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Parameter>) -> Self {
        self.parameters.push(value.into().0);
        self
    }
}

/// The answers of a batch, taken in the order of its statements.
pub struct Answers(std::vec::IntoIter<D1Result>);

#[derive(Deserialize)]
struct Row {
    row: String,
}

impl Answers {
    /// The next statement's rows.
    ///
    /// # Errors
    /// If they have not the shape of `T`.
    pub fn rows<T: DeserializeOwned>(&mut self) -> Stored<Vec<T>> {
        let result = self.0.next().ok_or_else(|| StoreError::Failed("a statement without an answer".to_owned()))?;
        let rows: Vec<Row> = result.results().map_err(failed_statement)?;
        rows.into_iter()
            .map(|row| {
                serde_json::from_str(&row.row).map_err(|error| {
                    StoreError::Failed(format!("a row is no {}: {}", std::any::type_name::<T>(), brief_error(&error)))
                })
            })
            .collect()
    }

    /// The next statement's first row.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub fn row<T: DeserializeOwned>(&mut self) -> Stored<Option<T>> {
        Ok(self.rows()?.into_iter().next())
    }

    /// How many rows the next statement changed.
    ///
    /// # Errors
    /// If D1 does not say.
    pub fn changes(&mut self) -> Stored<usize> {
        let result = self.0.next().ok_or_else(|| StoreError::Failed("a statement without an answer".to_owned()))?;
        let meta = result.meta().map_err(failed_statement)?;
        meta.and_then(|meta| meta.changes).ok_or_else(|| StoreError::Failed("an answer without its changes".to_owned()))
    }

    /// The last statement's first row.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub fn last<T: DeserializeOwned>(mut self) -> Stored<Option<T>> {
        while self.0.len() > 1 {
            self.0.next();
        }
        self.row()
    }

    /// Passes over the answers of `count` statements.
    #[must_use]
    pub fn skip(mut self, count: usize) -> Self {
        for _ in 0..count {
            self.0.next();
        }
        self
    }
}

/// The tenant's database.
pub struct Database {
    binding: String,
    d1: Rc<D1Database>,
    trips: Cell<u32>,
    condition: RefCell<Option<Statement>>,
}

thread_local! {
    /// Bindings outlive requests; looking one up takes several calls into JavaScript.
    static OPENED: RefCell<Vec<(String, Rc<D1Database>)>> = const { RefCell::new(Vec::new()) };
}

impl Database {
    /// The binding of the main database.
    pub const BINDING: &'static str = "DB";

    /// Opens the database behind a binding.
    ///
    /// # Errors
    /// If there is no such binding.
    pub fn open(env: &Env, binding: &str) -> Stored<Self> {
        let kept =
            OPENED.with_borrow(|opened| opened.iter().find(|(name, _)| name == binding).map(|(_, d1)| d1.clone()));
        if let Some(d1) = kept {
            return Ok(Self::new(binding, d1));
        }
        let d1 = Rc::new(env.d1(binding).map_err(failed_statement)?);
        OPENED.with_borrow_mut(|opened| opened.push((binding.to_owned(), d1.clone())));
        Ok(Self::new(binding, d1))
    }

    fn new(binding: &str, d1: Rc<D1Database>) -> Self {
        Self { binding: binding.to_owned(), d1, trips: Cell::new(0), condition: RefCell::new(None) }
    }

    /// The binding that it is behind.
    #[must_use]
    pub fn binding(&self) -> &str {
        &self.binding
    }

    /// From now on every batch that writes is done only while this holds: a statement that fails where it does not.
    ///
    /// A request is authenticated in one batch and writes in another. In between its session may end, by its owner who
    /// throws a thief out: what was on its way then would outlive the session. So the condition is kept here, where no
    /// handler and no function of the store can forget it.
    pub fn hold_to(&self, condition: Statement) {
        self.condition.replace(Some(condition));
    }

    /// Writes without the condition again: for what ends the session, and where nothing is written in its name.
    pub fn let_go(&self) {
        self.condition.replace(None);
    }

    /// The condition, for a batch that writes nothing and decides about another database.
    #[must_use]
    pub fn condition(&self) -> Option<Statement> {
        self.condition.borrow().clone()
    }

    /// Round trips so far.
    #[must_use]
    pub const fn trips(&self) -> &Cell<u32> {
        &self.trips
    }

    /// Runs the statements in one transaction: all of them, or none.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] for a UNIQUE constraint, [`StoreError::Ended`] where something is to be written that depends
    /// on what has ended, [`StoreError::Failed`] for all else.
    pub async fn batch(&self, statements: impl IntoIterator<Item = Statement>) -> Stored<Answers> {
        let statements: Vec<Statement> = statements.into_iter().collect();
        let condition = self.condition().filter(|_| statements.iter().any(Statement::writes));
        let conditions = usize::from(condition.is_some());
        let answers = self.run(condition.into_iter().chain(statements)).await?;
        Ok(answers.skip(conditions))
    }

    /// [`Self::batch`] whatever has ended: for the record of what was done elsewhere and cannot be undone, such as a refresh
    /// token of an issuer's that was used up.
    ///
    /// # Errors
    /// As [`Self::batch`].
    pub async fn record(&self, statements: impl IntoIterator<Item = Statement>) -> Stored<Answers> {
        self.run(statements).await
    }

    async fn run(&self, statements: impl IntoIterator<Item = Statement>) -> Stored<Answers> {
        let mut prepared = Vec::new();
        for statement in statements {
            prepared.push(self.d1.prepare(statement.text).bind(&statement.parameters).map_err(failed_statement)?);
        }
        self.trips.set(self.trips.get() + 1);
        let results = self.d1.batch(prepared).await.map_err(failed_statement)?;
        if let Some(error) = results.iter().find_map(D1Result::error) {
            return Err(classify_error(&error));
        }
        Ok(Answers(results.into_iter()))
    }

    /// Runs one statement and takes its first row.
    ///
    /// # Errors
    /// As [`Self::batch`].
    pub async fn first<T: DeserializeOwned>(&self, statement: Statement) -> Stored<Option<T>> {
        self.batch([statement]).await?.row()
    }
}

/// What is wrong with a row, without what is in it: people's data stays out of the log.
fn brief_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let (what, rest) = text.split_once(": string \"").unwrap_or((&text, ""));
    let expected = rest.rsplit_once(", expected").map(|(_, expected)| format!(": a string, expected{expected}"));
    format!("{what}{}", expected.unwrap_or_default())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn failed_statement(error: worker::Error) -> StoreError {
    classify_error(&error.to_string())
}

/// SQLite names the columns: `UNIQUE constraint failed: user.tenant_id, user.email`. The last one says what was
/// taken; those before it say where.
fn classify_error(message: &str) -> StoreError {
    if message.contains(UNCHANGED) {
        return StoreError::Unchanged;
    }
    for marker in [BROKEN, "CHECK constraint failed: "] {
        if let Some((_, tail)) = message.split_once(marker) {
            let name: String = tail.chars().take_while(|&c| c.is_ascii_alphanumeric() || c == '_').collect();
            let ended = ENDED.iter().find(|(known, _)| marker == BROKEN && *known == name);
            return ended.map_or(StoreError::Broken(name), |(_, holder)| StoreError::Ended(*holder));
        }
    }
    let Some((_, tail)) = message.split_once("UNIQUE constraint failed: ") else {
        return StoreError::Failed(message.to_owned());
    };
    let columns = tail.split([':', '\n', '"']).next().unwrap_or_default();
    let column = columns.rsplit(',').next().unwrap_or_default().trim();
    StoreError::Conflict(column.to_owned())
}

/// What [`rate_limit::is_within`](crate::request::store::rate_limit::is_within) breaks with.
pub const OVER: &str = "rate_limit";

/// What [`upstream::link`](crate::federation::store::upstream::link) breaks with where the issuer is not any more as it was when it named somebody.
pub const ISSUER_CHANGED: &str = "issuer_changed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_row_stays_out_of_the_log() {
        let error = serde_json::from_str::<u8>(r#""somebody@example.org""#).expect_err("a string");
        let text = brief_error(&error);
        assert!(!text.contains("somebody") && text.contains("expected u8"), "{text}");
    }

    #[test]
    fn whatever_is_no_select_counts_as_a_write() {
        for text in [
            "insert into a values (1)",
            "update a set b = 1",
            "delete from a",
            "with a as (select 1) update b set c = 1",
        ] {
            assert!(begin(text).writes(), "{text}");
        }
        assert!(!begin("select 1 as row").writes() && !must_change().writes());
    }

    #[test]
    fn a_conflict_names_its_column() {
        for (message, column) in [
            ("D1_ERROR: UNIQUE constraint failed: user.email: SQLITE_CONSTRAINT (extended: 2067)", "user.email"),
            ("UNIQUE constraint failed: user.tenant_id, user.email: SQLITE_CONSTRAINT", "user.email"),
            ("D1(D1Error { cause: \"UNIQUE constraint failed: session.token_hash\" })", "session.token_hash"),
        ] {
            assert!(matches!(classify_error(message), StoreError::Conflict(c) if c == column), "{message}");
        }
        assert!(matches!(classify_error("no such table: user"), StoreError::Failed(_)));
        for message in
            ["bad JSON path: 'doorward:broken:owner': SQLITE_ERROR", "D1_ERROR: CHECK constraint failed: owner: SQLITE"]
        {
            assert!(matches!(classify_error(message), StoreError::Broken(name) if name == "owner"), "{message}");
        }
        let ended = "bad JSON path: 'doorward:broken:session': SQLITE_ERROR";
        assert!(matches!(classify_error(ended), StoreError::Ended(Holder::Session)));
        let unchanged = "D1_ERROR: bad JSON path: 'doorward:unchanged': SQLITE_ERROR";
        assert!(matches!(classify_error(unchanged), StoreError::Unchanged));
    }
}
