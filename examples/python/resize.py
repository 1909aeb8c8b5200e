import json, sys
def resize(p): return {"width": p["width"] // 2}
print(json.dumps({"hello": 1, "tasks": ["resize"]}), flush=True)
for line in sys.stdin:
    task = json.loads(line)
    try: out = {"id": task["id"], "result": resize(task["payload"])}
    except KeyError as e: out = {"id": task["id"], "error": f"missing {e}", "then": "bury"}
    except Exception as e: out = {"id": task["id"], "error": repr(e)}        # no "then": retry
    print(json.dumps(out), flush=True)
