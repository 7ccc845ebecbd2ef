"""An exchange of MQTT 5 with paho, printed as JSON: what came with its properties, and reason codes.

Arguments: transport (tcp or websockets), port.
"""

import json
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

transport, port = sys.argv[1], int(sys.argv[2])
COUNT = 3
received, done, subscribed = [], threading.Event(), threading.Event()
seen = {}


def on_connect(client, _userdata, flags, reason, properties):
    seen["connack"] = [reason.value, flags["session present"]]
    wanted = Properties(PacketTypes.SUBSCRIBE)
    wanted.SubscriptionIdentifier = 300
    options = SubscribeOptions(qos=2, noLocal=False, retainAsPublished=True, retainHandling=1)
    client.subscribe([("paho5/#", options), ("forbidden", SubscribeOptions(qos=0))], properties=wanted)


def on_subscribe(_client, _userdata, _mid, reasons, _properties):
    seen["suback"] = [reason.value for reason in reasons]
    subscribed.set()


def on_message(_client, _userdata, message):
    p = message.properties
    received.append(
        {
            "topic": message.topic,
            "payload": message.payload.decode(),
            "qos": message.qos,
            "type": p.ContentType,
            "response": p.ResponseTopic,
            "correlation": p.CorrelationData.decode(),
            "user": p.UserProperty,
            "identifier": p.SubscriptionIdentifier,
        }
    )
    if len(received) == COUNT:
        done.set()


client = mqtt.Client(client_id="paho5", protocol=mqtt.MQTTv5, transport=transport)
if transport == "websockets":
    client.ws_set_options(path="/mqtt")
client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
asked = Properties(PacketTypes.CONNECT)
asked.SessionExpiryInterval = 100
asked.ReceiveMaximum = 2
client.connect("127.0.0.1", port, clean_start=True, properties=asked)
client.loop_start()
assert subscribed.wait(20), "no SUBACK"

properties = Properties(PacketTypes.PUBLISH)
properties.ContentType = "text/plain"
properties.ResponseTopic = "answers"
properties.CorrelationData = b"one"
properties.MessageExpiryInterval = 100
properties.UserProperty = [("a", "1"), ("a", "2")]
for qos in range(COUNT):
    client.publish("paho5/x", "message %d" % qos, qos, properties=properties).wait_for_publish()
assert done.wait(20), "%d of %d messages came" % (len(received), COUNT)

client.disconnect()
client.loop_stop()
print(json.dumps({"received": received, **seen}))
