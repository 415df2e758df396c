//! Limits of the wire (PROTOCOL.md section 6), checked before anything is allocated. Bytes unless the name says otherwise.

/// Largest frame of any kind, the length prefix not counted.
pub const MAX_FRAME_BYTES: usize = 16 << 20;
/// Largest frame that a runner may send, chunks excepted.
pub const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Largest `data` of one chunk.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;
/// What a chunk's frame may need on top of its data.
pub const MAX_CHUNK_OVERHEAD_BYTES: usize = 64;
/// Largest state of a strategy.
pub const MAX_STATE_BYTES: usize = 16 << 20;
/// Deepest nesting of arrays and maps; the message's own array is level 1.
pub const MAX_DEPTH: usize = 16;
/// Events of one batch.
pub const MAX_BATCH_EVENTS: usize = 4096;
/// Intents of one answer.
pub const MAX_INTENTS: usize = 256;
/// Timer requests of one answer.
pub const MAX_TIMERS: usize = 256;
/// Compute requests of one answer.
pub const MAX_COMPUTES: usize = 64;
/// Telemetry entries of one answer.
pub const MAX_TELEMETRY: usize = 64;
/// Entries of one state delta.
pub const MAX_DELTA_ENTRIES: usize = 1024;
/// Levels of one side of a book.
pub const MAX_LEVELS: usize = 65_536;
/// Every identifier: bot, strategy, instance, instrument, source, run, trace, key.
pub const MAX_ID_BYTES: usize = 128;
/// Codes, hints, telemetry names and tags, timer ids, tasks, reasons.
pub const MAX_TAG_BYTES: usize = 64;
/// A fault's message.
pub const MAX_MESSAGE_BYTES: usize = 1024;
/// A fault's traceback.
pub const MAX_TRACEBACK_BYTES: usize = 16 << 10;
/// Entries of a configuration or of a manual signal.
pub const MAX_CONFIG_ENTRIES: usize = 1024;
/// A string among values, and the why of a change.
pub const MAX_TEXT_BYTES: usize = 4 << 10;
/// Instruments of an init; positions, orders and keys of an event.
pub const MAX_ROWS: usize = 65_536;
/// Hooks of a hello.
pub const MAX_HOOKS: usize = 64;
