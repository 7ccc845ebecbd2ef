/**
 * What one pod sends to another in one PUBLISH:
 *
 *   blob     version, name of the sending pod (16 bytes of ASCII), then records
 *   record   kind, u32 length of what follows:
 *     message  flags (properties 0), publishedAtMs f64, expiresAtMs f64, topic, publisher,
 *              [properties as JSON: u32 length and bytes]; payload: the rest
 *     group    key of a shared subscription, then as `message`
 *     frame    mountpoint, topic; the frame of a tunnel: the rest
 *
 * Texts are a u16 length and UTF-8. The decoder is strict: it gives nothing that the encoder would not have written.
 */
export const VERSION = 1
export const RecordKind = { message: 1, group: 2, frame: 3 } as const

export const POD_BYTES = 16
export const BLOB_HEAD_BYTES = 1 + POD_BYTES
export const RECORD_HEAD_BYTES = 5
/** Flags and two times. */
export const MESSAGE_HEAD_BYTES = 17
export const MAX_TEXT_BYTES = 0xff_ff
export const PROPERTIES_FLAG = 0x01
