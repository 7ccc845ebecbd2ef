import { it } from 'vitest'
import { webSocketWorld } from '../websocket.ts'

const { closesOnText, takesPartsAndSeveral, answersMqtt } = webSocketWorld(5)

it('[MQTT-6.0.0-1] packets are in binary frames; another kind of frame ends the connection', closesOnText)

it('[MQTT-6.0.0-2] a frame may have several packets, or parts of them', takesPartsAndSeveral)

it('[MQTT-6.0.0-4] the subprotocol that the broker selects is mqtt', answersMqtt)
