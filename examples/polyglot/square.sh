#!/bin/sh
echo '{"hello": 1, "tasks": ["square"]}'
while IFS= read -r line; do
  id=${line#'{"id":"'}; id=${id%%'"'*}
  n=${line##*'"payload":'}; n=${n%'}'}
  case $n in
    '' | *[!0-9]*) echo "{\"id\": \"$id\", \"error\": \"the payload is no number\", \"then\": \"bury\"}" ;;
    *) echo "{\"id\": \"$id\", \"result\": $((n * n))}" ;;
  esac
done
