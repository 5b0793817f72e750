#!/usr/bin/env bash
# The second half of `make demo`: a simulated plate goes from an inbox to its page, segmented with a network that the
# first half has trained.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

demo=results/demo
export PATH="$PWD/.venv/bin:$PATH"

if [ ! -d "$demo/library/simplified-p4-demo-v1" ]; then
  equinuclei promote "$demo/models/simplified-p4/fluorescence/seed0" simplified-p4-demo-v1 \
    --library "$demo/library" --notes "Trained on 84 simulated fields: for the demo alone."
fi
if [ ! -d "$demo/inbox/DEMO" ]; then
  # Made beside the inbox, and moved there whole.
  rm -rf "$demo/arriving"
  equinuclei simulate-plate "$demo/arriving/DEMO" "$demo/truth/DEMO" --wells 24 --fields 4 --size 256
  mkdir -p "$demo/inbox"
  mv "$demo/arriving/DEMO" "$demo/inbox/DEMO"
fi
printf 'plate\ttruth\nDEMO_1\ttruth/DEMO\n' > "$demo/plates.tsv"

# A plate that is new to a scan may still be arriving: the next tick takes it.
scripts/autorun.sh --configfile config/demo.yaml
scripts/autorun.sh --configfile config/demo.yaml
echo
echo "Page of the plate: $demo/plates/DEMO_1/simplified-p4-demo-v1/report.html"
echo "All plates:        $demo/plates/plates.html"
