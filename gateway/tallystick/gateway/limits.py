"""What bounds the gateway: sizes, times, queues. Wire limits are in tallystick.evidence.limits."""

# --- configuration -------------------------------------------------------------------------
CONFIG_BYTES_MAX = 1 << 20
CREDENTIAL_BYTES_MAX = 262_144
VALIDATORS_MAX = 64
CLIENT_ID_CHARS_MAX = 128
BYTES_LIMIT_MIN = 262_144  # a limit below one segment would refuse what the format allows
INTERVAL_S_MIN = 0.05
INTERVAL_S_MAX = 86_400.0
ENROLMENT_FILES_MAX = 100_000
ENROLMENTS_RESCAN_S = 5.0

# --- the way in ----------------------------------------------------------------------------
INBOX_BYTES_MAX = 32 << 20
INBOX_MESSAGES_MAX = 4_096
GROUP_MESSAGES_MAX = 256  # messages of one COMMIT
GROUP_BYTES_MAX = 16 << 20
GROUP_WAIT_S = 0.25  # how long the worker waits for a first message
KEEPALIVE_S = 30
SESSION_EXPIRY_S = 30 * 86_400  # MQTT 5: how long a broker keeps what waits for this gateway
RECEIVE_MAX = 256  # MQTT 5: messages on their way that are not acknowledged
BROKER_READ_BYTES = 1 << 18  # with one system call; a longer packet is collected by paho
PACKET_BYTES_MAX = 1 << 20  # MQTT 5: a broker sends none that is larger
RECONNECT_S_MIN = 1
RECONNECT_S_MAX = 30
WATCHDOG_S = 60.0  # a client thread that shows no life for so long is replaced
WATCHDOG_TICK_S = 1.0
WORKER_BEAT_S_MAX = 60.0  # an ingest worker without a turn for so long hangs
THREAD_BEAT_S_MAX = 180.0  # any other thread; a validator has HTTP_ANSWER_S_MAX for an answer
STANDSTILL_S_MAX = 300.0  # no thread at all had its turn for so long
PAGE_BEAT_S_MAX = 60.0  # a thread of the page, which is replaced then
CLIENTS_HUNG_MAX = 8  # MQTT clients that were replaced and whose threads did not end
PAGES_REPLACED_MAX = 3  # since the start; who makes a page hang must not do so for ever
STACK_FRAMES_MAX = 16  # of what is said of a thread that hangs
LAST_WORD_S_MAX = 2.0  # for saying it
STOP_S_MAX = 5.0
STORE_RETRY_S_MIN = 0.1
STORE_RETRY_S_MAX = 10.0
RECEIPTS_S_MAX = 0.25  # how long receipts are signed before the intake has its turn again
RECEIPT_JOINS_S_MAX = 0.25  # a receipt waits no longer for more of its device that is here already
KEY_RETRY_S = 1.0
COUNTS_FLUSH_S = 1.0  # refusals alone are no reason for a COMMIT of their own each

# --- verification ahead (ahead.py) -----------------------------------------------------------
VERIFY_WORKERS_MAX = 64
VERIFY_WORKERS_BY_DEFAULT_MAX = 16  # of all cores but one; each takes some 30 MB
AHEAD_START_MESSAGES = 32  # so many waiting messages start the processes
GROUP_SHARED_MAX = 128  # messages of one COMMIT from then on: the rest is verified meanwhile
AHEAD_MESSAGES_MIN = 4  # fewer are not worth handing over
# Of one portion. What of it is not found when its turn comes is looked at twice.
AHEAD_MESSAGES = 8
AHEAD_PIPE_BYTES = 1 << 19  # to a process: so many portions of common segments
AHEAD_PORTIONS_MAX = 3  # on their way to one process
AHEAD_ANSWER_BYTES_MAX = 16 << 20
AHEAD_WAIT_S = 1.0
AHEAD_START_S_MAX = 60.0  # until its first answer: a slow board imports for seconds
AHEAD_ANSWER_S_MAX = 10.0  # a process that is silent for so long is replaced
AHEAD_RESTART_S_MIN = 0.1
AHEAD_RESTART_S_MAX = 30.0

# --- serial ports --------------------------------------------------------------------------
SERIAL_ENTRIES_MAX = 64  # [[serial]] tables
SERIAL_PORTS_MAX = 256  # open at once
SERIAL_PATTERN_CHARS_MAX = 256
SERIAL_BAUD_MAX = 12_000_000
SERIAL_CREDIT = 8  # pieces on their way here: 2 KiB, half of what Linux holds of a terminal
SERIAL_RESCAN_S = 1.0
SERIAL_TICK_MS = 50  # timers of a line are looked at so often
SERIAL_SLICE_BYTES = 16_384
SERIAL_SILENT_MS_MAX = 30_000
SERIAL_CLOSED_MS_MIN = 1_000
SERIAL_DEVICES_PER_PORT_MAX = 256
SERIAL_DOWN_MESSAGES_MAX = 256  # waiting for one port
SERIAL_STATE_S = 5.0  # counts alone are written no more often for `tally gateway status`

# --- one device ----------------------------------------------------------------------------
PARKED_DEVICE_BYTES_MAX = 8 << 20
PARKED_BYTES_MAX = 256 << 20
PARKED_LOOK_S = 60.0  # how often what is parked of other gateways' devices is looked for
PARKED_DROPPED_AT_ONCE = 256  # segments of one COMMIT
TRACKS_PER_LOG_MAX = 64  # pieces of one log that do not yet touch, and branches of a fork
EPOCHS_PER_DEVICE_MAX = 1_024
LOGS_CACHED_MAX = 10_000
IDENTITIES_CACHED_MAX = 10_000
ANSWERS_CACHED_MAX = 10_000
BAD_CACHED_MAX = 4_096  # messages refused after work was done: a repeat costs no work
CREDENTIAL_CHECKS_PER_S = 100.0
CREDENTIAL_CHECKS_BURST = 200.0
BAD_PER_DEVICE_PER_S = 20.0  # failed verifications of one device before cheap refusal
BAD_PER_DEVICE_BURST = 100.0
RESEND_S_MIN = 1.0  # between two equal resend requests; doubles
RESEND_S_MAX = 60.0
HELLOS_BURST = 4.0
NOTICES_PER_S = 20.0  # to all devices together
NOTICES_BURST = 50.0
NOTICE_S_MIN = 1.0  # between two equal notices to one device

# --- the way down --------------------------------------------------------------------------
DOWN_MESSAGES_MAX = 10_000
DOWN_IN_FLIGHT_MAX = 200
DOWN_QUEUED_MAX = 2_000

# --- the way out ---------------------------------------------------------------------------
BATCH_SEGMENTS = 256
BATCH_BYTES = 2 << 20  # a batch closes at this size; one segment more never passes the wire limit
BATCH_AGE_S = 0.2  # unless configured; see docs/operations.md
BATCH_AGE_S_MAX = 30.0
SHARED_BYTES_MAX = 16 << 20  # batches that several validators get alike
SHARED_S_MAX = 10.0
BATCH_RATIO_SAFE = 90  # above it a batch goes uncompressed: receivers refuse bombs at 100
ZSTD_LEVEL = 1
ANSWER_BYTES_MAX = 16 << 20
HTTP_CONNECT_S_MAX = 5.0
HTTP_READ_S_MAX = 60.0
HTTP_ANSWER_S_MAX = 120.0  # for a whole answer, however it comes
RETRY_S_MIN = 0.2
RETRY_S_MAX = 60.0
KEY_CHANGES_S = 2.0  # how often a validator is told of key changes that no batch brings
KEY_CHANGES_AT_ONCE = 64
DEFECTS_MAX = 3  # a batch that makes a validator fail so often is sent in smaller parts
DEFECTS_KEPT_MAX = 1_000  # places at which such batches begin
RETRY_AFTER_S_MAX = 300.0  # of what a validator asks for with Retry-After
URGENT_KEPT_MAX = 4_096  # places of urgent segments that are remembered
BATCH_ITEMS = 3_800  # a batch closes at so many; the hashes before one more segment still fit
URGENT_DEVICES = 64  # looked at for one such batch
URGENT_WAY_MAX = 1_024  # segments of a log that are read to see what an urgent one takes along
URGENT_CREDIT_S = 10.0  # of a link's rate: an urgent segment does not wait for its turn there
URGENT_DONE_MAX = 100_000  # segments that went ahead and are not sent again in their order
LINK_BATCH_S = 5.0  # a batch takes no longer on a link with a rate, unless one segment does
FORWARD_WAIT_S = 1.0  # looks for new segments at least so often
VERDICTS_POLL_S = 1.0
VERDICTS_WAIT_S_MAX = 10  # whole seconds; what a validator waits for the first verdict
QUOTA_REFUSALS_MAX = 64  # of one answer
LATE_SPAN = 2_048  # places of the gateway log that one batch of held segments covers
PEER_FILES_LOOK_S = 1.0
VERDICTS_PAGE_MAX = 1_000
HEADS_PAGES_MAX = 64  # of own heads, that a validator is asked for at the start

# --- the store -----------------------------------------------------------------------------
BUSY_TIMEOUT_MS = 10_000
WAL_PAGES = 4_000
STORE_BYTES_MAX = 64 << 30  # unless configured
# Below it a percent of the store would be less than one message.
STORE_BYTES_MIN = 64 << 20
DISK_RESERVE_BYTES = 64 << 20  # for the write-ahead log and what is beside the store
STORE_FULL_WAIT_S = 0.25  # how often a stopped worker looks for room

# --- what may go (docs/durability.md) --------------------------------------------------------
PRUNE_FROM_PERCENT = 70
PRUNE_TO_PERCENT = 65
PRUNE_ROWS = 64  # segments of one transaction
PRUNE_EVERY_S = 600.0  # by age
PRUNE_LOOK_S = 2.0  # how full the store is
PRUNE_REST_S = 0.02  # between two transactions, so that the intake has its turn
SCRUB_EVERY_S = 86_400.0
REPAIR_WAIT_S = 5.0  # for the intake, after a validator gave a segment back
REPAIR_LOOK_S = 0.05
RETENTION_DAYS_MAX = 36_500
HOLD_WHY_CHARS_MAX = 200
HOLD_DEVICES_MAX = 1_000  # that one hold names; more: all of them
HOLDS_AT_ONCE = 64  # statements of one turn
HOLD_AGAIN_MS = 60_000  # told again until the device says that it knows
RETRY_ASIDE_MS_MIN = 60_000  # what is set aside is sent again; waits double up to a day
RETRY_ASIDE_MS_MAX = 86_400_000
RETRY_ASIDE_AT_ONCE = 64
RETRY_LOOK_S = 1.0  # how often it is looked at
POISON_MESSAGES_MAX = 1_000
POISON_BYTES_MAX = 64 << 20
QUARANTINE_SHOWN_MAX = 1_000

# --- exports ---------------------------------------------------------------------------------
EXPORT_HEADS_PER_FILE = 256  # checkpoints of one evidence file
EXPORT_EVIDENCE_BYTES = 12 << 20  # of one file, credentials apart; readers take 16 MiB
EXPORT_EVIDENCE_BYTES_MIN = 64 << 10
EXPORT_HALVES_MAX = 1_024  # of one interaction
EXPORT_VERDICTS_MAX = 1_024

# --- devices that join ---------------------------------------------------------------------
JOINS_QUEUED_MAX = 10_000
JOINS_PER_KEY_MAX = 8
JOIN_KEPT_DAYS = 90  # requests, and invitations after their end
INVITATIONS_MAX = 10_000
JOIN_PAGE_ROWS_MAX = 128
JOIN_STATEMENTS_MAX = 64  # invitations and answers of one request
JOIN_STATEMENTS_BYTES_MAX = 4 << 20
JOIN_HEADER_BYTES_MAX = 8_192
JOIN_CONNECTIONS_MAX = 128
JOIN_CONNECTION_S_MAX = 20.0  # from its first byte to its last
JOIN_HANDSHAKE_S_MAX = 10.0
JOIN_KEEP_ALIVE_S = 2
JOIN_STOP_S_MAX = 3
JOIN_START_S_MAX = 10.0
JOIN_BACKLOG = 64
JOIN_RETRY_S = 5  # how long a device that waits shall wait before it asks again
JOIN_PER_S = 200.0  # requests, of all senders
JOIN_BURST = 400.0
JOIN_PER_SENDER_PER_S = 50.0  # a hundred robots may share one address
JOIN_PER_SENDER_BURST = 200.0
JOIN_BAD_PER_SENDER_PER_S = 0.2  # refusals: who guesses codes is slow
JOIN_BAD_PER_SENDER_BURST = 20.0
JOIN_SENDERS_MAX = 4_096  # who is remembered; the one not heard for longest is forgotten
JOIN_INBOX_FILES_MAX = 1_024  # looked at in one turn
CHALLENGE_S_MAX = 60.0
# Below this a batch of one segment takes minutes, and its validator's answer comes too late.
LINK_BYTES_S_MIN = 1_000
# Epochs after a left one that are looked at when it grows.
LATER_EPOCHS_MAX = 64
