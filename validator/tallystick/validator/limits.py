"""What bounds the service: sizes, times, queues. Wire limits are in tallystick.evidence.limits."""

# --- one request ---------------------------------------------------------------------------
BODY_READ_S_MAX = 30.0  # a batch that comes slower than this is dropped (A21)
BODY_CHUNK_BYTES_MAX = 1 << 20  # decompressed bytes made at one go, so that a bomb stays small
HEADER_BYTES_MAX = 16_384
HEADER_READ_S_MAX = 10.0
BODY_REST_S_MAX = 15.0  # of a body that goes on after its answer
QUERY_TEXT_CHARS_MAX = 256
HIDDEN_PAGES_MAX = 64  # looked through for one page, where a scope covers few of them
CONNECTIONS_MAX = 256
KEEP_ALIVE_S = 15
ANSWER_WRITE_S_MAX = 120.0  # for who reads more slowly than an answer is written
SHUTDOWN_S_MAX = 5
BATCHES_WAITING_MAX = 64  # of all fleets; more are answered 503: gateways retry with jitter

# Publications of key changes. An honest fleet has few; a flood must not hold up batches.
PUBLICATION_BYTES_MAX = 1 << 20
PUBLICATION_CREDENTIALS_MAX = 64
PUBLICATIONS_PER_S = 2.0
PUBLICATIONS_BURST = 32.0
# Of one sender, so that no flood from one place keeps a revocation out.
PUBLICATIONS_PER_SENDER_PER_S = 0.5
PUBLICATIONS_PER_SENDER_BURST = 16.0
PUBLICATION_SENDERS_MAX = 4_096  # who is remembered; the one not heard for longest is forgotten

# --- quotas (protocol, 6.7): records a second, seconds of burst, bytes a day -----------------
# A control loop of 1 kHz, twice; a fleet catches up ten minutes of everything at once.
QUOTAS = {
    "device": (2_000, 600, 4 << 30),
    "gateway": (20_000, 600, 64 << 30),
    "fleet": (50_000, 600, 256 << 30),
}
QUOTA_MAX = 1 << 44  # records a second, and bytes a day; what a counter holds
QUOTA_BURST_S_MAX = 86_400
# A sender that goes on in spite of a refusal gets no further signature for so long.
REFUSAL_SIGNED_MS_MIN = 1_000
REFUSALS_PER_BATCH_MAX = 64
LANE_WAITING_MAX = 16  # of one fleet
DOOR_GATEWAYS_CACHED_MAX = 4_096
DOOR_THREADS_MAX = 2  # that look whose a batch is, each with one unpacked

# --- peer files (protocol, 5.6) --------------------------------------------------------------
PEER_FILES_LOOK_S = 1.0

# --- other validators ----------------------------------------------------------------------
PEERS_MAX = 64
PEER_POLL_S = 5.0
PEER_POLL_S_MIN = 0.05
PEER_RETRY_S_MAX = 60.0
PEER_CONNECT_S_MAX = 5.0
PEER_READ_S_MAX = 20.0
PEER_ANSWER_S_MAX = 60.0  # for a whole answer, however slowly it comes
PEER_ANSWER_BYTES_MAX = 4 << 20
PEER_PAGES_PER_TURN_MAX = 64
PEER_CREDENTIALS_PER_TURN_MAX = 256  # the others wait for the next turn
PEER_CHANGES_WAITING_MAX = 65_536
PEER_HEADS_AHEAD_MAX = 65_536
# Gateways, those heard last first, whose logs are compared with a peer's in a turn.
PEER_GATEWAYS_MAX = 64
PEER_PARTS_COMPARED_MAX = 256
WRITER_S_MAX = 60.0  # how long a peer's thread waits for the one writer
FORKS_ANSWERED_MAX = 256  # the newest ones

# --- answers -------------------------------------------------------------------------------
PAGE_ROWS_DEFAULT = 100
PAGE_ROWS_MAX = 1_000
ENTRIES_BYTES_MAX = 4 << 20

# --- the store -----------------------------------------------------------------------------
BUSY_TIMEOUT_MS = 10_000
READERS_MAX = 8
ANSWERS_KEPT_PER_GATEWAY_MAX = 64
RECEIPTS_PER_ANSWER_MAX = 4_096
FORKS_KEPT_PER_DEVICE_MAX = 16
SHARING_READ_MAX = 16  # others whose evidence names one chip
APART_KEPT_PER_DEVICE_MAX = 64  # segments by an old key; more are refused and not kept
FORK_SEGMENT_BYTES_MAX = 65_536  # a longer one is kept by its heads alone, which are the proof
GATEWAY_FORKS_KEPT_MAX = 16
# Heads of a gateway in an answer, each with at most a batch's items.
GATEWAY_HEADS_PER_PAGE = 8
NODES_CACHED_MAX = 65_536
LOGS_CACHED_MAX = 4_096
IDENTITIES_CACHED_MAX = 4_096
CUSTODY_CACHED_MAX = 65_536
CLAIMS_CACHED_MAX = 65_536
INTERACTIONS_CACHED_MAX = 65_536
# Of one interaction. By whoever made them, so that no stranger can use up what the parties need.
SETS_PER_DEVICE_MAX = 16
SETS_PER_FLEET_MAX = 256
CLAIMS_PER_SET_AND_DEVICE_MAX = 64  # 32 slots, and a device that repeats itself
# Of one device: what neighbours read of each other must stay short (nearby.py).
GRANTS_PER_DEVICE_MAX = 1_024  # of a resource, that begin within one `longest`
RELEASES_PER_ACQUISITION_MAX = 64  # two are enough to show what is wrong
REFUSED_RECORDS_KEPT_PER_BATCH_MAX = 1_000  # all are counted

# --- the background ------------------------------------------------------------------------
TICK_S = 0.25
# No batch and no piece of the background takes so long; a thread that is away longer hangs.
TURN_S_MAX = 300.0
PARTY_SETS_PER_TICK_MAX = 512
FAILING_SETS_MAX = 64  # over which the sequencer fails; more are no fault of single sets
FAILING_RETRY_S = 600.0
PARTIES_CACHED_MAX = 4_096
OTHERS_PER_SET_MAX = 1_024
HALVES_PER_EVIDENCE_MAX = 256
CREDENTIAL_BYTES_MAX = 262_144
TOKEN_CHARS_MIN = 16
RETRY_S = 1.0

# --- workers (docs/adr/0015) -----------------------------------------------------------------
WORKERS_MAX = 64  # started by one process
WORKER_BEAT_S = 0.5
WORKER_SILENT_S = 3.0  # then it counts for nothing, and the sequencer does the work
WORKER_IDLE_S_MIN = 0.002  # between two looks when nothing waits; doubled each time
WORKER_IDLE_S_MAX = 0.05
WORKER_RETRY_S_MAX = 5.0
WORKER_RESTART_S_MIN = 0.5
WORKER_RESTART_S_MAX = 30.0
CREW_LOOK_S = 0.25
WORKERS_LOOK_S = 0.5  # how often the sequencer sees who lives
PORTION_SETS_MAX = 64  # what a worker computes at one go
PORTION_SETS_PER_WORKER_MAX = 1_024  # given away at once; more would lie for too long
PROPOSALS_PER_TICK_MAX = 8
PORTION_WAIT_S = 5.0  # then it is taken back, whoever has it,
PORTIONS_ALONE_S = 5.0  # and for so long the sequencer does all by itself
PORTIONS_LOOK_S_MIN = 0.005  # for proposals, while something is given away; doubled
PORTIONS_LOOK_S_MAX = 0.04
# A session that is stopped in the middle of a transaction ends, and its locks with it.
WORKER_STOPPED_MS_MAX = 15_000

# --- verification ahead (docs/adr/0016) ------------------------------------------------------
INBOX_BATCH_BYTES_MIN = 4_096  # compressed; to hand a shorter one over costs what it saves
INBOX_BYTES_MAX = 64 << 20  # of copies, so that 8 MiB each of a queue that is full do not lie there
INBOX_LANE_BYTES_MAX = 16 << 20  # of one fleet
INBOX_POLL_S = 0.05  # for facts; and whenever a batch is taken
INBOX_LOOK_S = 1.0  # for workers that came or went
INBOX_STOP_S_MAX = 5.0
AHEAD_FACTS_MAX = 65_536  # signatures of a batch: 2 MiB
HINTS_CACHED_MAX = 65_536
KEYS_PER_HINT_MAX = 4  # hints are eight bytes of a digest; more of one were made on purpose

# --- privacy -------------------------------------------------------------------------------
SCOPE_ROWS_MAX = 1_024  # fleets, devices, namespaces or interactions of one reader, each
HOLDS_MAX = 1_024
HOLD_TEXT_CHARS_MAX = 256
HOLD_BYTES_MAX = 4_096  # a request for one
ERASURE_BYTES_MAX = 4_096
SEGMENT_ANSWER_BYTES_MAX = 1 << 20  # for a gateway that lost a segment: one is 256 KiB at most
ERASED_STRETCHES_PER_ORDER_MAX = 4_096  # of more, ask with smaller ranges
RETENTION_LOOK_S = 60.0  # how often what grew old is looked for
RETENTION_PASS_S = 86_400.0  # how often all is looked at again: what was on hold, or still open
RETENTION_LEAP_S_MAX = 86_400.0  # a clock that goes further at one go is waited out
RETENTION_PATIENCE_S = 7_200.0
RETENTION_CHECKPOINTS_PER_TURN_MAX = 256

# --- witnessing (docs/protocol.md, 8.4) ------------------------------------------------------
COSIGN_EVERY_S = 1.0  # a new checkpoint is sent to the witnesses after at most this
COSIGN_AGAIN_S = 3_600  # and an old one for a new time
COSIGN_SAME_S = 60  # the same checkpoint gets the cosignature that was made, until it is this old
COSIGN_AHEAD_S_MAX = 300  # how far a witness's clock may be ahead
COSIGN_LAG_MS_MAX = 60_000  # how old a checkpoint that is served for its cosignatures may be
COSIGN_TRIES_MAX = 3
SPLIT_VIEWS_PER_LOG_MAX = 16
PUT_BACK_ASK_S_MAX = 5.0  # at the start, for the answer of one witness
PUT_BACK_WAIT_S_MAX = 10.0  # for all of them at once, whatever they wait for

# --- tiles (docs/protocol.md, 8.3) -----------------------------------------------------------
TILES_EVERY_S = 1.0
TILES_RETRY_S_MAX = 60.0
BUNDLE_ENTRIES_READ = 16  # entries held at once for an answer: at most 1 MiB

# --- streams -------------------------------------------------------------------------------
STREAMS_MAX = 64  # of the connections, so that as many and more are left for answers
STREAM_LOOK_S = 0.25  # whether the service ends
STREAM_ALIVE_S = 15.0
VERDICTS_WAITS_MAX = 96  # of the connections, that wait so at once; more are answered at once
VERDICTS_WAIT_S_MAX = 20  # whole seconds, for who asks for verdicts that are not there yet
STREAM_S_MAX = 3_600.0  # then the client comes back, and a balancer may send it elsewhere

# --- the page ------------------------------------------------------------------------------
SEARCHED_DEVICES_MAX = 64
SEARCHED_PROFILES_MAX = 1_024  # pairs of a profile and a namespace that a task is tried with
SEARCHED_CLAIMS_MAX = 256  # the newest ones whose bytes hold the text
