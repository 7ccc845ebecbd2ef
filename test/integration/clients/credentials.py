"""Connects with paho over TLS, once for each line of JSON on standard input: what it comes with.

Prints the CONNACK codes. Arguments: port, file of the CA.
"""

import json
import sys

import paho.mqtt.client as mqtt

port, ca = int(sys.argv[1]), sys.argv[2]
codes = []
for line in sys.stdin:
    came = json.loads(line)
    client = mqtt.Client(client_id=came["id"], protocol=mqtt.MQTTv311)
    client.tls_set(ca, came.get("cert"), came.get("key"))
    if "username" in came:
        client.username_pw_set(came["username"], came.get("password"))
    answered = []
    client.on_connect = lambda _client, _userdata, _flags, code: answered.append(code)
    client.connect("127.0.0.1", port)
    # Each call reads and writes what is there; an error code other than 0 is the end of the connection.
    while not answered and client.loop(1) == 0:
        pass
    codes.append(answered[0] if answered else "closed")
    client.disconnect()
print(json.dumps(codes))
