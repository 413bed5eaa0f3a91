"""The station's own store on the SD card: the only queue of Clima that has to survive.

spool.py     the Spool: append, sync, read, acknowledge; its invariants in prose
books.py     its file and ledgers, kept in step: what all changes of it go through
ledger.py    what became of each sequence of a lane: acknowledged, dropped, or still waiting
room.py      staying within limits, and getting out of a full disk
file.py      the SQLite file: its format, its transactions, what counts as damage
renumber.py  records under new numbers, where a sequence was used twice
record.py    the JSON of a record, with its identity
recovery.py  a new spool in place of a damaged one
salvage.py   reading records out of a file that SQLite no longer can
takeover.py  the records of a second spool, under this station's name
undated.py   records from before the time was known
wal.py       SQLite's write-ahead log: whether it is damaged, or only torn by a power cut
"""

from clima_agent.spool.file import SpoolDamagedError, SpoolFullError
from clima_agent.spool.ledger import Ledger
from clima_agent.spool.recovery import recover
from clima_agent.spool.room import Limits
from clima_agent.spool.spool import Spool
from clima_agent.spool.takeover import take_over, was_sent
from clima_agent.spool.undated import Start, Undated

__all__ = [
    "Ledger",
    "Limits",
    "Spool",
    "SpoolDamagedError",
    "SpoolFullError",
    "Start",
    "Undated",
    "recover",
    "take_over",
    "was_sent",
]
