import json, sys
print(json.dumps({"hello": 1, "tasks": ["work"], "ahead": int(sys.argv[1])}), flush=True)
for line in sys.stdin:
    task = json.loads(line)
    print(json.dumps({"id": task["id"], "result": None}), flush=True)
