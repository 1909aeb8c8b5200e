//! The by running scripts.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::Value;

use super::{
    RedisBroker,
    ahead::Sent,
    arguments::{self, Run, Settlements, text},
    body::{self, Unreadable},
    error,
    keys::{self, Queues},
    reply::{self, Refused, each, int, uint, unexpected},
    scripts,
};
use crate::{
    BatchName, BatchStatus, Beat, Beaten, Broker, Cancel, Capabilities, Claim, ClaimReply, DeadLetters,
    Doctor, End, Enqueued, Fsck, Incarnation, Interest, Lookup, NewTask, Outcome, OutcomeWaiter, QueueName,
    QueueOptions, QueueStatus, Result, Settled, Settlement, TaskId, Token, Waiter, Workers,
    clock::millis,
    machine::{Configuration, check_fits, repeated},
};

/// For how long a task is put off that only a newer version can read.
const PUT_OFF: Duration = Duration::from_secs(32);

#[async_trait]
impl Broker for RedisBroker {
    fn backend(&self) -> &'static str {
        "redis"
    }

    fn capabilities(&self) -> Capabilities {
        Self::CAPABILITIES
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        let asked = options.cloned().unwrap_or_default();
        let flag = if options.is_some() { "1" } else { "0" };
        let arguments = vec![
            text(flag),
            text(asked.capacity),
            text(millis(asked.remember_ids)),
            text(reply::order(asked.order)),
            asked.key_limit.map(text).unwrap_or_default(),
            text(millis(asked.key_interval)),
        ];
        let reply: Vec<Value> =
            self.call("declare", &scripts::DECLARE, self.keys_of(queue), arguments).await?;
        let (status, configured) = reply::status(&reply).ok_or_else(|| unexpected("declare"))?;
        let mut stored =
            Configuration { options: status.options.clone(), revision: status.revision, configured };
        if options.is_some() && !stored.is(&asked) {
            // It was not taken, and this says why.
            stored.configure(queue, &asked, status.unsettled())?;
            return Err(unexpected("declare"));
        }
        Ok(status)
    }

    async fn enqueue(&self, tasks: &[NewTask], token: Option<Token>) -> Result<Vec<Enqueued>> {
        let mut queues = Queues::new(&self.keys);
        let sequence = token.map(|token| text(format!("{:020}", token.sequence))).unwrap_or_default();
        let outcomes = &self.news().outcomes;
        let reply = |task: &NewTask| outcomes.is_awaited(task).then_some(self.incarnation);
        let before = vec![text(self.keys.channel()), sequence];
        let arguments = arguments::enqueue(before, tasks, &mut queues, reply)?;
        let mut keys = queues.keys();
        keys.extend(token.map(|token| self.keys.calls(token.incarnation)));
        let reply = self.call("enqueue", &scripts::ENQUEUE, keys, arguments).await;
        let reply: Vec<Value> = reply.map_err(|e| error::of_queues(e, queues.names()))?;
        check_places("enqueue", &reply, tasks.iter())?;
        let answers = if let [Value::Int(-2), first @ ..] = reply.as_slice() {
            repeated(each(first, first.len(), "enqueue", reply::enqueued)?, tasks)?
        } else {
            each(&reply, tasks.len(), "enqueue", reply::enqueued)?
        };
        // Of what was not enqueued nothing is told. Where there was no room it will be tried again.
        for (task, _) in tasks
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| !matches!(answer, Enqueued::Enqueued | Enqueued::Full))
        {
            outcomes.tell(&task.id, None);
        }
        Ok(answers)
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReply> {
        let ahead = &self.news().ahead;
        let sent = ahead.take(&claim.queue, claim.max);
        if !sent.is_empty() {
            return self.claim_sent(&claim.queue, sent).await;
        }
        // What is held back by the queues that it feeds is not to come unasked.
        let wants = claim.feeds.is_empty() && self.news().is_wanted(&claim.queue);
        let credit = ahead.asking(&claim.queue, wants, claim.lease);
        let mut queues = Queues::new(&self.keys);
        queues.index(&claim.queue);
        for fed in claim.feeds.iter().filter(|fed| **fed != claim.queue) {
            queues.index(fed);
        }
        let fed = queues.names().len() - 1;
        let arguments = vec![
            text(self.keys.channel()),
            text(claim.max),
            text(millis(claim.lease)),
            text(u8::from(claim.idle)),
            self.incarnation.as_uuid().as_bytes().to_vec(),
            text(fed),
            text(credit),
        ];
        let began = Instant::now();
        let reply: Vec<Value> = self.call("claim", &scripts::CLAIM, queues.keys(), arguments).await?;
        let ([full, alone, ended, next, mark, first, now], tasks) =
            reply.split_first_chunk().ok_or_else(|| unexpected("claim"))?;
        ahead.answered(&claim.queue, credit, began, uint(now).ok_or_else(|| unexpected("claim"))?);
        let first = uint(first).ok_or_else(|| unexpected("claim"))?;
        let full = uint(full).and_then(|index| queues.names().get(usize::try_from(index).ok()?).copied());
        let (mut claimed, mut refused) = (Vec::new(), Vec::new());
        for task in tasks.chunks(3) {
            match reply::claimed(&claim.queue, self.incarnation, first, task)? {
                Ok(task) => claimed.push(task),
                Err(task) => refused.push(task),
            }
        }
        // What was sent away may have been all that was asked for.
        let again = (!refused.is_empty()).then_some(Duration::ZERO);
        self.send_away(&claim.queue, refused).await;
        Ok(ClaimReply {
            tasks: claimed,
            held_by: full.cloned(),
            waiting_alone: uint(alone).ok_or_else(|| unexpected("claim"))?,
            ended: int(ended) == Some(1),
            mark: uint(mark).ok_or_else(|| unexpected("claim"))?,
            next: again.or(uint(next).map(Duration::from_millis)),
            leased: None,
        })
    }

    async fn beat(&self, beats: &[Beat], lease: Duration) -> Result<Vec<Beaten>> {
        let mut queues = Queues::new(&self.keys);
        let arguments = arguments::beat(beats, lease, &mut queues);
        let reply: Vec<i64> = self.call("beat", &scripts::BEAT, queues.keys(), arguments).await?;
        each(&reply, beats.len(), "beat", |code| match code {
            0 => Some(Beaten::Lost),
            1 => Some(Beaten::Kept),
            2 => Some(Beaten::Cancelled),
            _ => None,
        })
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut queues = Queues::new(&self.keys);
        let mut all = Settlements::new(self.keys.channel());
        let ahead = &self.news().ahead;
        let leases = settlements.iter().map(|settlement| &settlement.lease);
        let renewed = ahead.renewing(self.incarnation, leases, |queue| self.news().is_wanted(queue));
        if let Some((queue, session)) = &renewed {
            all = all.with_credit(queues.index(queue), session);
        }
        let mut all_children = Vec::new();
        for settlement in settlements {
            all.add_settlement(settlement, &mut queues)?;
            if let End::Complete { children, .. } = &settlement.end {
                all_children.extend(children);
            }
        }
        let reply: Vec<Value> =
            self.call("settle", &scripts::SETTLE, queues.keys(), all.into_arguments()).await?;
        check_places("settle", &reply, all_children.into_iter())?;
        each(&reply, settlements.len(), "settle", |answer| match answer {
            Value::Int(0) => Some(Settled::Lost),
            Value::Int(1) => Some(Settled::Settled),
            _ => None,
        })
    }

    async fn close(&self, queue: &QueueName) -> Result<()> {
        let arguments = vec![text(self.keys.channel())];
        self.call::<i64>("close", &scripts::CLOSE, self.keys_of(queue), arguments).await.map(drop)
    }

    async fn queues(&self, after: Option<&QueueName>, max: usize) -> Result<Vec<QueueName>> {
        self.names(after, max).await
    }

    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>> {
        let reply: Vec<Value> =
            self.call("status", &scripts::STATUS, self.keys_of(queue), Vec::new()).await?;
        if reply.is_empty() {
            return Ok(None);
        }
        reply::status(&reply).map(|(status, _)| Some(status)).ok_or_else(|| unexpected("status"))
    }

    async fn pause(&self, queue: &QueueName, by: &str) -> Result<()> {
        let arguments = vec![text(self.keys.channel()), text(by)];
        self.call::<i64>("pause", &scripts::PAUSE, self.keys_of(queue), arguments).await.map(drop)
    }

    async fn resume(&self, queue: &QueueName) -> Result<()> {
        let arguments = vec![text(self.keys.channel())];
        self.call::<i64>("resume", &scripts::RESUME, self.keys_of(queue), arguments).await.map(drop)
    }

    async fn cancel(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Cancel>> {
        let arguments = self.told_ids(ids);
        let reply: Vec<i64> = self.call("cancel", &scripts::CANCEL, self.keys_of(queue), arguments).await?;
        each(&reply, ids.len(), "cancel", |code| match code {
            0 => Some(Cancel::Unknown),
            1 => Some(Cancel::Cancelled),
            2 => Some(Cancel::Asked),
            _ => None,
        })
    }

    async fn outcomes(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        // A reply with large results has fewer than were asked for.
        while let Some(rest) = ids.get(outcomes.len()..).filter(|rest| !rest.is_empty()) {
            let arguments = rest.iter().map(keys::id).collect();
            let keys = self.keys_of(queue);
            let reply: Vec<Value> = self.call("outcomes", &scripts::OUTCOMES, keys, arguments).await?;
            if reply.is_empty() || reply.len() > rest.len() {
                return Err(unexpected("outcomes"));
            }
            outcomes.extend(each(&reply, reply.len(), "outcomes", reply::outcome)?);
        }
        Ok(outcomes)
    }

    async fn batch(&self, batch: &BatchName) -> Result<Option<BatchStatus>> {
        let keys = self.keys.of_namespace();
        let reply: Vec<u64> = self.call("batch", &scripts::BATCH, keys, vec![text(batch)]).await?;
        if reply.is_empty() {
            return Ok(None);
        }
        reply::batch(&reply).map(Some).ok_or_else(|| unexpected("batch"))
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        Some(self)
    }

    fn lookup(&self) -> Option<&dyn Lookup> {
        Some(self)
    }

    fn doctor(&self) -> Option<&dyn Doctor> {
        Some(self)
    }

    fn fsck(&self) -> Option<&dyn Fsck> {
        Some(self)
    }

    fn workers(&self) -> Option<&dyn Workers> {
        Some(self)
    }

    fn wait_for(&self, interest: Interest, queues: &[QueueName]) -> Waiter {
        self.news().wait(interest, queues)
    }

    fn wait_for_outcome(&self, task: &NewTask) -> Option<OutcomeWaiter> {
        self.news().outcomes.wait(task)
    }

    async fn withdraw(&self) -> Result<()> {
        self.give_all_back().await
    }

    async fn rebuild(&self) {
        self.tear_down().await;
    }
}

impl RedisBroker {
    /// Answers a claim with what was sent ahead.
    async fn claim_sent(&self, queue: &QueueName, sent: Vec<Sent>) -> Result<ClaimReply> {
        let leased = sent.iter().map(|sent| sent.leased).min();
        let (mut claimed, mut refused) = (Vec::new(), Vec::new());
        for sent in sent {
            let epoch = sent.epoch;
            match reply::claimed(queue, self.incarnation, epoch, &sent.value())? {
                Ok(task) => claimed.push(task),
                Err(task) => refused.push(task),
            }
        }
        self.send_away(queue, refused).await;
        // Whether there is more was not asked.
        Ok(ClaimReply { tasks: claimed, leased, next: Some(Duration::ZERO), ..ClaimReply::default() })
    }

    /// Sends tasks away that were claimed and cannot be handed out: what only a newer version can read is put off, all else buried. If
    /// that fails, their leases run out, and whoever claims them next tries again.
    async fn send_away(&self, queue: &QueueName, refused: Vec<Refused>) {
        if refused.is_empty() {
            return;
        }
        let mut queues = Queues::new(&self.keys);
        let queue_index = queues.index(queue);
        let said: Vec<_> = refused.into_iter().map(why_sent_away).collect();
        let mut settlements = Settlements::new(self.keys.channel());
        for (Refused { id, epoch, .. }, how, said) in &said {
            tracing::warn!(task = %id.escape_ascii(), %queue, reason = said, "a task is sent away: {how}");
            let run = Run {
                queue: queue_index,
                epoch: *epoch,
                incarnation: self.incarnation,
                how,
                said,
                delay: PUT_OFF,
                children: 0,
            };
            settlements.add(run, id.clone());
        }
        let (keys, arguments) = (queues.keys(), settlements.into_arguments());
        let sent: Result<Vec<i64>> = self.call("claim", &scripts::SETTLE, keys, arguments).await;
        if let Err(error) = sent {
            tracing::warn!(%queue, error = %error.report(), "tasks that cannot be read are held until their leases run out");
        }
    }

    pub(super) fn keys_of(&self, queue: &QueueName) -> Vec<String> {
        let mut queues = Queues::new(&self.keys);
        queues.index(queue);
        queues.keys()
    }

    /// Where news goes, and ids.
    pub(super) fn told_ids(&self, ids: &[TaskId]) -> Vec<Vec<u8>> {
        std::iter::once(text(self.keys.channel())).chain(ids.iter().map(keys::id)).collect()
    }
}

/// Says which of these tasks does not fit its queue, if the script found one.
fn check_places<'a>(
    operation: &'static str,
    reply: &[Value],
    mut tasks: impl Iterator<Item = &'a NewTask>,
) -> Result<()> {
    let Some((at, options)) = reply::misplaced(reply) else { return Ok(()) };
    let task = tasks.nth(at).ok_or_else(|| unexpected(operation))?;
    check_fits(operation, task, &options)?;
    Err(unexpected(operation))
}

/// How a task is sent away, and what is said of it.
fn why_sent_away(refused: Refused) -> (Refused, &'static str, String) {
    let (how, said) = match &refused.why {
        Unreadable::Newer(format) => (
            "put off",
            format!("it needs a version that knows format {format}; this one knows {}", body::FORMAT),
        ),
        Unreadable::Foreign(why) => ("bury", format!("cannot be decoded: {why}")),
    };
    (refused, how, said)
}
