//! Raw limit: bodies out of Redis. One script takes a hundred ids from a list, writes an epoch and a lease for each, and returns the
//! bodies; another one checks the epochs and removes them. No queue that hands out leases can do with less.

use std::time::Instant;

use anyhow::{Result, ensure};
use redis::Script;

use super::{
    Measured,
    redis::{Raw, settings},
};
use crate::work::{BATCH, Work};

/// KEYS: list, leases, bodies, epochs. ARGV: until when, how many.
const CLAIM: &str = "
    local out = {}
    for _, id in ipairs(redis.call('RPOP', KEYS[1], ARGV[2]) or {}) do
      local epoch = tonumber(redis.call('HGET', KEYS[4], id) or 0) + 1
      redis.call('HSET', KEYS[4], id, epoch)
      redis.call('ZADD', KEYS[2], ARGV[1], id)
      out[#out + 1] = id
      out[#out + 1] = epoch
      out[#out + 1] = redis.call('HGET', KEYS[3], id)
    end
    return out";

/// KEYS: leases, bodies, epochs. ARGV: id and epoch by turns.
const ACKNOWLEDGE: &str = "
    local done = 0
    for at = 1, #ARGV, 2 do
      local id = ARGV[at]
      if redis.call('HGET', KEYS[3], id) == ARGV[at + 1] then
        redis.call('ZREM', KEYS[1], id)
        redis.call('HDEL', KEYS[2], id)
        redis.call('HDEL', KEYS[3], id)
        done = done + 1
      end
    end
    return done";

pub(super) fn measure(n: u64) -> Result<Measured> {
    let mut raw = Raw::start()?;
    raw.enqueue((0..n).map(Work::json), 1000)?;
    let (claim, acknowledge) = (Script::new(CLAIM), Script::new(ACKNOWLEDGE));
    let began = Instant::now();
    let mut done = 0;
    while done < n {
        let mut call = claim.prepare_invoke();
        let call = call.key("q").key("z").key("h").key("e").arg(done).arg(BATCH);
        let claimed: Vec<(u64, u64, String)> = call.invoke(&mut raw.connection)?;
        ensure!(!claimed.is_empty(), "tasks are missing");
        let mut call = acknowledge.prepare_invoke();
        call.key("z").key("h").key("e");
        for (id, epoch, _body) in &claimed {
            call.arg(*id).arg(*epoch);
        }
        let acknowledged: u64 = call.invoke(&mut raw.connection)?;
        ensure!(acknowledged == claimed.len() as u64, "epochs do not agree");
        done += acknowledged;
    }
    let per_second = n as f64 / began.elapsed().as_secs_f64();
    let settings = settings("raw Lua claim + acknowledge, with epochs", BATCH, n);
    Ok(Measured { settings, per_second, took: None })
}
