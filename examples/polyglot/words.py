import json, sys
def words(p): return sorted(set(p["text"].lower().split()))
print(json.dumps({"hello": 1, "tasks": ["words"], "ahead": 4}), flush=True)
for line in sys.stdin:
    task = json.loads(line)
    try: out = {"id": task["id"], "result": words(task["payload"])}
    except KeyError as e: out = {"id": task["id"], "error": f"missing {e}", "then": "bury"}
    except Exception as e: out = {"id": task["id"], "error": repr(e)}
    print(json.dumps(out), flush=True)
