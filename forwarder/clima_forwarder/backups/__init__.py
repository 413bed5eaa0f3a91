"""Backups: what lies where, and what always holds.

    FOLDER/elasticsearch/        a snapshot repository, Elasticsearch's own: its path.repo is FOLDER
    FOLDER/clima/NAME/           one backup:
        manifest.json            what it holds; written last: without it there is no backup
        forwarder.key, stations/ the forwarder's key, and who is let in
        readings.sqlite          the store, where that is SQLite

The one secret in it is `forwarder.key`, of mode 0600 in a folder of mode 0700. Passwords and API
keys are not: a new host makes its own.
"""
