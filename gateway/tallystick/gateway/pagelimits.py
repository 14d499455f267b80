"""What bounds the page and its door: sizes, times, queues."""

# --- what is read -----------------------------------------------------------------------
NAMES_MAX = 16
TOKEN_CHARS_MIN = 16
TOKEN_CHARS_MAX = 256
THRESHOLD_S_MAX = 31_536_000.0
SILENT_INTERVALS_MAX = 1_000.0
EXPIRING_DAYS_MAX = 3_650.0
LOOK_S = 1.0  # between two looks at the store while somebody looks at the page
IDLE_LOOK_S = 5.0  # and while nobody does
WATCHED_S = 30.0  # a question counts as somebody who looks for so long
LOOK_SHARE = 0.1  # of a core that may go into looks: a very large store is seen less often
LOOK_REST_S_MAX = 10.0  # but so often that a page which waits does not think us gone
COUNT_SHARE = 0.01  # of the time that may go into each count that reads a whole table
EXPIRIES_SHOWN_MAX = 20
VERDICTS_LOOKED_MAX = 20_000  # at the start, for the conflicts of the last day
CONFLICTS_MAX = 100
CONFLICTS_KEPT_MS = 86_400_000
CLOCKS_KEPT = 4  # observations of one device's clock
ABOUT_MAX = 20  # devices or validators that a condition names
DEVICES_ROWS_MAX = 200  # of one answer
DEVICES_ROWS = 50
QUERY_CHARS_MAX = 128
PARTS_MAX = 200  # rows of each list on a device's page
HISTORY_STEP_S = 10.0
HISTORY_STEPS_MAX = 2_160  # six hours
REASONS_MAX = 200
SET_ASIDE_ROWS_MAX = 5_000  # devices, by validator and reason
HOLDS_SHOWN_MAX = 50
TAG_CHARS_MAX = 64  # of a tag as the page calls a device; its own page has all of it
DETAIL_CHARS_MAX = 1_024  # of what a fleet signed of a device
QUOTED_CHARS_MAX = 200  # of others' words in a sentence of ours

# --- its door (A21) ----------------------------------------------------------------------
CONNECTIONS_MAX = 128
STREAMS_MAX = 64  # of them, so that as many are left for answers
STREAM_S_MAX = 3_600.0  # then the browser comes back by itself
STREAM_ALIVE_S = 15.0
HEADER_BYTES_MAX = 16_384
HEADER_READ_S_MAX = 10.0
HANDSHAKE_S_MAX = 10.0
WRITE_S_MAX = 15.0  # who does not read what was written is dropped
STREAM_BUFFER_BYTES = 65_536  # written and not read, before a stream waits
KEEP_ALIVE_S = 15
STOP_S_MAX = 2
START_S_MAX = 10.0
BACKLOG = 64
BAD_TOKENS_PER_S = 0.5  # of one sender
BAD_TOKENS_BURST = 20.0
SENDERS_MAX = 4_096
HEALTH_BEAT_S_MAX = 60.0  # without a turn of the ingest worker, /healthz says so
