"""A persistent session of paho, for one visit; prints session present and what came, as JSON.

Arguments: port, QoS, how many messages to wait for. With 0 it subscribes and leaves.
"""

import json
import sys
import threading

import paho.mqtt.client as mqtt

port, qos, count = map(int, sys.argv[1:])
received, subscribed, done = [], threading.Event(), threading.Event()
present = []

client = mqtt.Client(client_id="paho-sleeper", clean_session=False, protocol=mqtt.MQTTv311)


def on_connect(client, _userdata, flags, code):
    assert code == 0, code
    present.append(flags["session present"])
    if count == 0:
        client.subscribe("q/#", qos)


def on_message(_client, _userdata, message):
    received.append([message.topic, message.payload.decode(), message.qos])
    if len(received) == count:
        done.set()


client.on_connect = on_connect
client.on_message = on_message
client.on_subscribe = lambda *_: subscribed.set()
client.connect("127.0.0.1", port)
client.loop_start()
if count == 0:
    assert subscribed.wait(20), "no SUBACK"
else:
    assert done.wait(20), "%d of %d messages came" % (len(received), count)
client.disconnect()
client.loop_stop()
print(json.dumps({"present": present[0], "received": received}))
