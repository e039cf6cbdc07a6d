#!/bin/sh
# Makes the namespace and the two search attributes that sagas are found by. Runs in the admin-tools image.
set -eu
temporal operator namespace describe --namespace default >/dev/null 2>&1 ||
    temporal operator namespace create --namespace default --retention 7d

# A namespace made a moment ago is known to the whole server only after its next refresh.
tries=0
until temporal operator search-attribute list --namespace default | grep -q CorrelationId; do
    tries=$((tries + 1))
    [ "$tries" -le 30 ] || { echo "the search attributes could not be made" >&2; exit 1; }
    temporal operator search-attribute create --namespace default \
        --name SagaStatus --type Keyword --name CorrelationId --type Keyword || sleep 2
done
