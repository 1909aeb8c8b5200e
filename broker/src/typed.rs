//! Tasks as Rust types.

use serde::{Serialize, de::DeserializeOwned};

/// A kind of task: a name, and the payload as a type.
///
/// ```
/// use manyhands_broker::Task;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Fetch {
///     url: String,
/// }
///
/// impl Task for Fetch {
///     const NAME: &'static str = "fetch";
///     type Output = usize;
/// }
/// ```
pub trait Task: Serialize + DeserializeOwned + Send + 'static {
    /// The name, by which a worker finds the handler: 1 to 128 bytes of `[A-Za-z0-9._-]`.
    const NAME: &'static str;

    /// The queue it goes to unless told otherwise.
    const QUEUE: &'static str = "default";

    /// What its handler returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;
}
