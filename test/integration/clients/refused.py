"""Connects with paho and prints the CONNACK code. Arguments: port, protocol (31, 311 or 5)."""

import sys

import paho.mqtt.client as mqtt

port, protocol = map(int, sys.argv[1:])
version = {31: mqtt.MQTTv31, 311: mqtt.MQTTv311, 5: mqtt.MQTTv5}[protocol]
codes = []
client = mqtt.Client(client_id="paho-refused", protocol=version)


def on_connect(client, _userdata, _flags, code, *_):
    # MQTT 5: an object made from the byte, whose number is then a reason code.
    codes.append(getattr(code, "value", code))


client.on_connect = on_connect
client.connect("127.0.0.1", port)
# Each call reads and writes what is there; an error code other than 0 is the end of the connection.
while not codes and client.loop(1) == 0:
    pass
print(codes[0] if codes else "closed")
