#!/usr/bin/env bash
# Comments the verdicts of a gate's run on its pull request: gate_comment.sh <folder of artifacts>
#
# For the second stage of the gate, which has the right to comment and runs none of the pull request's code. What is in the folder
# was made by that code: it is posted as text and nothing else is done with it. REPOSITORY, HEAD_SHA and GH_TOKEN are in the
# environment. One comment per pull request: a later run replaces it.
set -euo pipefail

folder=$1
mark='<!-- tern gate -->'
longest=60000

body=$(mktemp)
trap 'rm -f "$body"' EXIT
printf '%s\n' "$mark" >"$body"
for summary in "$folder"/*/summary.md; do
  [[ -r $summary ]] || continue
  name=$(basename "$(dirname "$summary")")
  # A mention in what a stranger wrote would notify people.
  printf '## %s\n\n%s\n\n' "${name#verdict-}" "$(head -c "$longest" "$summary" | sed 's/@/\&#64;/g')" >>"$body"
done
[[ $(wc -l <"$body") -gt 1 ]] || {
  printf 'no summary in %s\n' "$folder"
  exit 0
}
truncate -s "<$longest" "$body"

[[ $HEAD_SHA =~ ^[0-9a-f]{40}$ ]] || {
  printf 'HEAD_SHA is not a revision\n' >&2
  exit 1
}
number=$(gh api "repos/$REPOSITORY/commits/$HEAD_SHA/pulls" --jq '[.[] | select(.state == "open")][0].number // empty')
[[ -n $number ]] || {
  printf 'no open pull request has %s\n' "$HEAD_SHA"
  exit 0
}
old=$(gh api "repos/$REPOSITORY/issues/$number/comments" --paginate --jq ".[] | select(.body | startswith(\"$mark\")) | .id" | head -n 1)
if [[ -n $old ]]; then
  gh api --silent -X PATCH "repos/$REPOSITORY/issues/comments/$old" -F body=@"$body"
else
  gh api --silent "repos/$REPOSITORY/issues/$number/comments" -F body=@"$body"
fi
