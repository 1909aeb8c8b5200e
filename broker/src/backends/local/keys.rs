//! How values look in the database.

use rusqlite::{
    ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use uuid::Uuid;

use crate::{BatchName, Incarnation, LimitKey, Order, QueueName, TaskId, TaskName, UniqueKey};

/// `tasks.state`. The numbers are part of the format.
pub(super) mod state {
    pub(in super::super) const READY: i64 = 0;
    pub(in super::super) const SCHEDULED: i64 = 1;
    pub(in super::super) const LEASED: i64 = 2;
    pub(in super::super) const DEAD: i64 = 3;
    pub(in super::super) const HELD: i64 = 4;
}

/// `queues.claim_order`. The numbers are part of the format.
const ORDERS: [(Order, i64); 3] = [(Order::Fifo, 0), (Order::Lifo, 1), (Order::Priority, 2)];

/// An order as it is stored.
pub(super) fn order_key(order: Order) -> i64 {
    ORDERS.iter().find(|(known, _)| *known == order).map_or(0, |(_, key)| *key)
}

/// An order that was read.
pub(super) struct StoredOrder(pub(super) Order);

impl FromSql for StoredOrder {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let key = value.as_i64()?;
        let found = ORDERS.iter().find(|(_, known)| *known == key);
        found.map(|(order, _)| Self(*order)).ok_or(FromSqlError::OutOfRange(key))
    }
}

/// An id: 16 bytes where it is a UUID, text where it is not.
pub(super) struct IdKey<'a>(pub(super) &'a TaskId);

impl ToSql for IdKey<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0.as_uuid() {
            Some(uuid) => ToSqlOutput::from(uuid.as_bytes().to_vec()),
            None => ToSqlOutput::from(self.0.to_string()),
        })
    }
}

/// An id that was read.
pub(super) struct StoredId(pub(super) TaskId);

impl FromSql for StoredId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let invalid = |e: Box<dyn std::error::Error + Send + Sync>| FromSqlError::Other(e);
        match value {
            ValueRef::Blob(bytes) => {
                Uuid::from_slice(bytes).map(|u| Self(u.into())).map_err(|e| invalid(e.into()))
            }
            ValueRef::Text(text) => {
                let text = std::str::from_utf8(text).map_err(|e| invalid(e.into()))?;
                TaskId::new(text).map(Self).map_err(|e| invalid(e.into()))
            }
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $stored:ident, $type:ident) => {
        $(#[$doc])*
        pub(super) struct $stored(pub(super) $type);

        impl FromSql for $stored {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                $type::new(value.as_str()?).map(Self).map_err(|e| FromSqlError::Other(e.into()))
            }
        }
    };
}

text!(
    /// The name of a queue that was read.
    StoredQueue, QueueName
);
text!(
    /// The name of a task that was read.
    StoredName, TaskName
);
text!(
    /// A unique key that was read.
    StoredKey, UniqueKey
);
text!(
    /// The key of a line that was read.
    StoredLimit, LimitKey
);
text!(
    /// The name of a batch that was read.
    StoredBatch, BatchName
);

/// A history that was read: empty for NULL.
pub(super) struct StoredHistory(pub(super) Vec<(u64, String)>);

impl FromSql for StoredHistory {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let read = |text| serde_json::from_str(text).map_err(|e| FromSqlError::Other(e.into()));
        value.as_str_or_null()?.map_or(Ok(Vec::new()), read).map(Self)
    }
}

/// A history as it is stored.
pub(super) fn history_text(history: &[(u64, String)]) -> rusqlite::Result<Option<String>> {
    let write =
        || serde_json::to_string(history).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()));
    if history.is_empty() { Ok(None) } else { write().map(Some) }
}

/// An incarnation: 16 bytes.
pub(super) fn holder(incarnation: Incarnation) -> [u8; 16] {
    *incarnation.as_uuid().as_bytes()
}

/// A number of the contract as SQLite's. All of them fit: times are milliseconds, and epochs and counts stay below
/// 2^53; what does not is as good as for ever.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of SQLite's as the contract's. None of ours is negative.
pub(super) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
