//! Namespaces of other formats.

use super::*;

/// A namespace as the versions left it that wrote format 1 or 2: a task that waits, one that is leased, one that is due and one that is dead.
const OLDER: &str = r#"
local function key(part) return 'mh:{mh}:' .. part .. ':q' end
local function body(id) redis.call('HSET', key('body'), 't' .. id,
  '\1{"name":"work","given":true,"max_attempts":5,"max_crashes":3}\n"' .. id .. '"') end
local function state(id, p)
  for name, value in pairs({ epoch = 5242880000, attempts = 1, crashes = 0, deaths = 0, parks = 0, since = 0, alone = false, holder = '', error = 'it failed' }) do
    if p[name] == nil then p[name] = value end
  end
  redis.call('HSET', key('state'), 't' .. id, '\1' .. cmsgpack.pack(p))
end
local format = tonumber(ARGV[2])
redis.call('HSET', 'mh:{mh}', 'format', format, 'oldest_reader', format, 'oldest_writer', format, 'server', 'another',
  format == 1 and 'generation' or 'fence', 5000)
redis.call('HSET', key('info'), 'capacity', 4, 'remember_ids', 3600000, 'order', 'fifo', 'revision', 1, 'configured', 1, 'closed', 0,
  'added', 4, 'deaths', 1, 'died', ARGV[1])
for _, id in ipairs({ 'waits', 'leased', 'due', 'dead' }) do body(id) end
redis.call('RPUSH', key('ready'), struct.pack('>I8', 1) .. 'twaits')
state('leased', { seq = 2, holder = string.rep('h', 16), plain = format == 2 or nil })
redis.call('ZADD', key('lease'), ARGV[1] + 5000, 'tleased')
redis.call('ZADD', key('due'), ARGV[1] + 5000, struct.pack('>I8', 3) .. 'tdue')
redis.call('HSET', key('state'), 'tdue', '\1' .. cmsgpack.pack({ seq = 3 }))
state('dead', { seq = 4, died = tonumber(ARGV[1]) })
redis.call('ZADD', key('dead'), 1, 'tdead')
"#;

async fn field(server: &Server, name: &str) -> Option<String> {
    redis::FromRedisValue::from_redis_value(server.say(&["HGET", "mh:{mh}", name]).await).unwrap()
}

async fn begin_with_format(server: &Server, format: &str) {
    let seconds: Vec<String> = redis::FromRedisValue::from_redis_value(server.say(&["TIME"]).await).unwrap();
    server.say(&["EVAL", OLDER, "0", &format!("{}000", seconds[0]), format]).await;
}

#[tokio::test]
async fn namespaces_of_formats_before_are_taken_over() {
    for format in ["1", "2"] {
        take_over(format).await;
    }
}

async fn take_over(format: &str) {
    let server = Server::start();
    begin_with_format(&server, format).await;
    let broker = server.session().await;
    assert!(broker.fsck().unwrap().fsck(false).await.unwrap().is_clean());
    for name in ["format", "oldest_reader", "oldest_writer"] {
        assert_eq!(field(&server, name).await.as_deref(), Some("3"), "{name}");
    }
    let status = broker.status(&queue()).await.unwrap().unwrap();
    assert_eq!((status.ready, status.scheduled, status.held, status.leased, status.dead), (1, 1, 0, 1, 1));
    assert_eq!(status.options, QueueOptions::default().with_capacity(4), "what is new is not asked for");
    let dead = broker.dead_letters().unwrap().list(&queue(), None, 9).await.unwrap().remove(0);
    assert_eq!((dead.error.as_str(), dead.history.len()), ("it failed", 0));
    server.0.set_clock(Duration::from_secs(6)).unwrap();
    let tasks = broker.claim(&Claim::new(queue(), 9)).await.unwrap().tasks;
    let ids: Vec<_> = tasks.iter().map(|task| task.lease.id.to_string()).collect();
    assert_eq!(ids, ["leased", "waits", "due"]);
    assert!(tasks[0].lease.epoch > 5_242_880_000, "the epochs go on: {tasks:?}");
    let end = End::Bury { error: "again".to_owned() };
    let ends: Vec<_> = tasks.into_iter().map(|task| Settlement::new(task.lease, end.clone())).collect();
    assert_eq!(broker.settle(&ends).await.unwrap(), [Settled::Settled; 3]);
    let dead = broker.dead_letters().unwrap().list(&queue(), None, 9).await.unwrap();
    assert_eq!(dead.iter().map(|task| task.history.len()).collect::<Vec<_>>(), [0, 2, 1, 1]);
    assert!(broker.fsck().unwrap().fsck(false).await.unwrap().is_clean());
    drop(broker);
    drop(server.session().await);
    assert_eq!(field(&server, "format").await.as_deref(), Some("3"), "a second time there is nothing to do");
}

/// The rule by which every version opens a namespace, run as one that knows a format before. And what such a one asks in each
/// claim: a session that it had open finds no generation, and so opens the namespace again.
#[tokio::test]
async fn an_older_program_is_refused() {
    let open = concat!(
        include_str!("../../src/backends/redis/lua/lib.lua"),
        include_str!("../../src/backends/redis/lua/open.lua")
    );
    for (known, generation) in [("1", "generation"), ("2", "fence")] {
        for taken_over in [false, true] {
            let server = Server::start();
            if taken_over {
                begin_with_format(&server, known).await;
            }
            drop(server.session().await);
            let answer = server.say(&["EVAL", open, "1", "mh:{mh}", "server", known]).await;
            assert_eq!(answer, redis::Value::Int(-3));
            assert_eq!(field(&server, generation).await, None);
        }
    }
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let server = Server::start();
    drop(server.session().await);
    server.say(&["HSET", "mh:{mh}", "oldest_writer", "4"]).await;
    let error = connect(&server.0.url().parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{}", error.report());
}
