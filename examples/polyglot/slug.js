const rl = require("readline").createInterface({ input: process.stdin });
const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");
const slug = (p) => p.title.trim().toLowerCase().replace(/[^a-z0-9]+/g, "-");
say({ hello: 1, tasks: ["slug"] });
rl.on("line", (line) => {
  const { id, payload } = JSON.parse(line);
  try { say({ id, result: slug(payload) }); }
  catch (e) { say({ id, error: String(e), then: "bury" }); }
});
