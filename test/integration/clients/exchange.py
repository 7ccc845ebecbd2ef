"""Publishes and receives COUNT messages at QOS with paho, and prints what came, as JSON.

Arguments: transport (tcp or websockets), port, protocol (31 or 311), qos, count.
"""

import json
import sys
import threading

import paho.mqtt.client as mqtt

transport, port, protocol, qos, count = sys.argv[1], *map(int, sys.argv[2:])
version = {31: mqtt.MQTTv31, 311: mqtt.MQTTv311}[protocol]
received, done, subscribed = [], threading.Event(), threading.Event()

client = mqtt.Client(client_id="paho-exchange", clean_session=True, protocol=version, transport=transport)
if transport == "websockets":
    client.ws_set_options(path="/mqtt")


def on_message(_client, _userdata, message):
    received.append([message.topic, message.payload.decode(), message.qos])
    if len(received) == count:
        done.set()


client.on_message = on_message
client.on_connect = lambda client, *_: client.subscribe("paho/#", qos)
client.on_subscribe = lambda *_: subscribed.set()
client.connect("127.0.0.1", port)
client.loop_start()
assert subscribed.wait(20), "no SUBACK"
# All at once: paho leaves Nagle's algorithm on, so that one by one each would take 40 ms.
published = [client.publish("paho/%d" % (number % 3), "message %d" % number, qos) for number in range(count)]
for message in published:
    message.wait_for_publish()
assert done.wait(20), "%d of %d messages came" % (len(received), count)
client.disconnect()
client.loop_stop()
print(json.dumps(received))
