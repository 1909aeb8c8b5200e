//! The options of a queue, as they are stored with it.

use crate::{Error, ErrorKind, QueueName, QueueOptions, Result};

/// The options in force, and how they came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The options.
    pub options: QueueOptions,
    /// Counts the changes of the options, from 1.
    pub revision: u64,
    /// Whether somebody configured the queue; else it exists only by use, and the first configuration is taken.
    pub configured: bool,
}

impl Default for Configuration {
    /// A queue that exists only by use.
    fn default() -> Self {
        Self { options: QueueOptions::default(), revision: 1, configured: false }
    }
}

impl Configuration {
    /// Whether `configure` would change nothing.
    #[must_use]
    pub fn is(&self, options: &QueueOptions) -> bool {
        self.configured && self.options == *options
    }

    /// Takes the first configuration, and the same one again, of a queue with so many unsettled tasks.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`], with both values, when the queue is configured otherwise, or when there are tasks whose order
    /// would change.
    pub fn configure(&mut self, queue: &QueueName, options: &QueueOptions, unsettled: u64) -> Result<()> {
        if self.configured && self.options != *options {
            let stored = &self.options;
            let message = format!(
                "queue \"{queue}\" is configured otherwise: it has {stored}; this process asks for {options}"
            );
            return Err(Error::new(ErrorKind::Conflict, "declare", message).advise(
                "give every process that configures this queue the same options, or use another queue name",
            ));
        }
        if unsettled > 0 && self.options.order != options.order {
            let (old, new) = (self.options.order, options.order);
            let message =
                format!("queue \"{queue}\" has {unsettled} tasks in order {old}, which cannot become {new}");
            return Err(Error::new(ErrorKind::Conflict, "declare", message)
                .advise("configure the queue before it gets tasks, or when all are settled"));
        }
        self.revision += u64::from(self.options != *options);
        self.options = options.clone();
        self.configured = true;
        Ok(())
    }

    /// Changes what an operator wants otherwise, of a queue with so many unsettled and so many dead tasks, if it was changed as
    /// often as `revision` says. Options that are in force already are left as they are, whatever the revision: the call was repeated.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`], with both values, when somebody else changed them since, or when there are tasks that they
    /// would not fit.
    pub fn change(
        &mut self,
        queue: &QueueName,
        options: &QueueOptions,
        revision: u64,
        unsettled: u64,
        dead: u64,
    ) -> Result<()> {
        let conflict = |message| Error::new(ErrorKind::Conflict, "set", message);
        let stored = &self.options;
        if stored != options {
            if self.revision != revision {
                let message = format!(
                    "queue \"{queue}\" was changed meanwhile: revision {} has {stored}; revision {revision} was to get {options}",
                    self.revision
                );
                return Err(conflict(message).advise("look at it, and change it again"));
            }
            if unsettled > 0 && stored.order != options.order {
                let (old, new) = (stored.order, options.order);
                let message = format!(
                    "queue \"{queue}\" has {unsettled} tasks in order {old}, which cannot become {new}"
                );
                return Err(conflict(message).advise("change the order when all its tasks are settled"));
            }
            if unsettled + dead > 0 && stored.limits_keys() && !options.limits_keys() {
                let message = format!(
                    "queue \"{queue}\" has {unsettled} unsettled and {dead} dead tasks, which may have keys: {stored} cannot become {options}"
                );
                return Err(conflict(message).advise("raise the key_limit instead, or empty the queue first"));
            }
            self.revision += 1;
            self.options = options.clone();
        }
        self.configured = true;
        Ok(())
    }
}
