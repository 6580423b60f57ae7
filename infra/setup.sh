#!/usr/bin/env bash
# What twinbeam needs of a Google Cloud project, made once: APIs, a bucket, a registry for the worker
# image, and a service account for the workers with the least roles. Doing it twice is harmless.
#
#   PROJECT=my-project REGION=europe-west1 BUCKET=my-bucket infra/setup.sh
#
# LAUNCHER=user:me@example.com (or serviceAccount:…) is given what it takes to submit jobs; an owner
# of the project needs nothing more. DRY_RUN=1 shows the commands and runs none.
set -euo pipefail
: "${PROJECT:?the id of the project}" "${REGION:?such as europe-west1}" "${BUCKET:?a name that no other bucket has}"
REPOSITORY=${REPOSITORY:-twinbeam}
WORKER_ACCOUNT=${WORKER_ACCOUNT:-twinbeam-worker}
WORKER="$WORKER_ACCOUNT@$PROJECT.iam.gserviceaccount.com"

cloud() {
  if [[ -n ${DRY_RUN:-} ]]; then printf 'gcloud'; printf ' %q' "$@"; printf '\n'; else gcloud "$@" --project "$PROJECT" --quiet; fi
}
# $1 is how to see whether it is there; the rest makes it.
unless() {
  local look=$1; shift
  if [[ -n ${DRY_RUN:-} ]] || ! gcloud $look --project "$PROJECT" >/dev/null 2>&1; then cloud "$@"; fi
}

cloud services enable dataflow.googleapis.com compute.googleapis.com storage.googleapis.com \
  artifactregistry.googleapis.com logging.googleapis.com monitoring.googleapis.com

# Soft delete keeps what is deleted, at a price: a run writes and deletes temporary objects.
unless "storage buckets describe gs://$BUCKET" storage buckets create "gs://$BUCKET" \
  --location "$REGION" --uniform-bucket-level-access --public-access-prevention --soft-delete-duration 0
# Temporary folders that a run which died has left go after a week.
rules=$(mktemp) && trap 'rm -f "$rules"' EXIT
echo '{"rule": [{"action": {"type": "Delete"}, "condition": {"age": 7, "matchesPrefix": ["tmp/"]}},
                {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 7}}]}' >"$rules"
cloud storage buckets update "gs://$BUCKET" --lifecycle-file "$rules"

unless "artifacts repositories describe $REPOSITORY --location $REGION" artifacts repositories create \
  "$REPOSITORY" --location "$REGION" --repository-format docker --description "Worker images of twinbeam"

unless "iam service-accounts describe $WORKER" iam service-accounts create "$WORKER_ACCOUNT" \
  --display-name "Workers of twinbeam"

# The workers: be a Dataflow worker; objects of this bucket alone; read this registry alone.
cloud projects add-iam-policy-binding "$PROJECT" --member "serviceAccount:$WORKER" \
  --role roles/dataflow.worker --condition None
for role in roles/storage.objectUser roles/storage.legacyBucketReader; do
  cloud storage buckets add-iam-policy-binding "gs://$BUCKET" --member "serviceAccount:$WORKER" --role "$role"
done
cloud artifacts repositories add-iam-policy-binding "$REPOSITORY" --location "$REGION" \
  --member "serviceAccount:$WORKER" --role roles/artifactregistry.reader

# Who submits: jobs, calls that count for the project, the bucket, the registry, and the right to
# start workers as that account.
if [[ -n ${LAUNCHER:-} ]]; then
  for role in roles/dataflow.developer roles/serviceusage.serviceUsageConsumer; do
    cloud projects add-iam-policy-binding "$PROJECT" --member "$LAUNCHER" --role "$role" --condition None
  done
  for role in roles/storage.objectUser roles/storage.legacyBucketReader; do
    cloud storage buckets add-iam-policy-binding "gs://$BUCKET" --member "$LAUNCHER" --role "$role"
  done
  cloud artifacts repositories add-iam-policy-binding "$REPOSITORY" --location "$REGION" \
    --member "$LAUNCHER" --role roles/artifactregistry.writer
  cloud iam service-accounts add-iam-policy-binding "$WORKER" --member "$LAUNCHER" --role roles/iam.serviceAccountUser
fi
echo "bucket gs://$BUCKET, workers $WORKER, images $REGION-docker.pkg.dev/$PROJECT/$REPOSITORY/"
