#!/bin/sh
# Makes the two databases of a Temporal server, or brings their schema to this version. Runs in the admin-tools image.
set -eu
schema=/etc/temporal/schema/postgresql/v12

for pair in temporal:temporal temporal_visibility:visibility; do
    database=${pair%%:*}
    # POSTGRES_DB may have made the first one already; making it again is an error that changes nothing.
    temporal-sql-tool --database "$database" create-database || true
    # A schema that is there already has a version, and version 0.0 is refused.
    SQL_DATABASE=$database temporal-sql-tool setup-schema -v 0.0 || true
    SQL_DATABASE=$database temporal-sql-tool update-schema -d "$schema/${pair##*:}/versioned"
done
