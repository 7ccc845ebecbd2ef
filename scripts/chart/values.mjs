// What the values of the Helm chart are: keys, defaults, texts. values.yaml, values.schema.json and docs/helm-values.md
// of deploy/helm/tunnelmq are made from it by `npm run docs`. Names are those of VerneMQ's chart where they mean the
// same (docs/from-vernemq-chart.md).
//
// Marks: `ours` names a part of our own configuration schema, which takes the place of the value's;
// `example` is shown in values.yaml as a comment.
import { z } from 'zod'

const text = () => z.string()
const flag = (byDefault) => z.boolean().default(byDefault)
const count = z.int().min(0)
const positive = z.int().min(1)
const tcpPort = z.int().min(1).max(65_535)
const nodePort = () =>
  z
    .int()
    .min(1)
    .max(65_535)
    .optional()
    .describe('Port on the nodes, for `NodePort` and `LoadBalancer`; default: chosen by Kubernetes.')
/** Objects of Kubernetes that go to it as they are; it says what is wrong with them. */
const anything = () => z.record(z.string(), z.any())
const things = () => z.array(anything())
const strings = () => z.record(z.string(), z.string())
const section = (fields) => z.strictObject(fields).prefault({})

const labels = (of) => strings().default({}).describe(`More labels of ${of}.`)
const annotations = (of) => strings().default({}).describe(`Annotations of ${of}.`)
const secretName = (what) => text().default('').describe(what)

/** What both kinds of exposed services have. */
const exposure = (of) => ({
  type: z
    .enum(['ClusterIP', 'NodePort', 'LoadBalancer'])
    .default('ClusterIP')
    .describe(`How ${of} is reached.`),
  annotations: annotations(`${of}, for example of the load balancer of a cloud`),
  labels: labels(of),
  clusterIP: text().optional().describe('Fixed address inside the cluster.'),
  externalIPs: z.array(text()).default([]).describe('Addresses outside that lead to nodes.'),
  loadBalancerIP: text().optional().describe('Address of the load balancer, where the cloud takes one.'),
  loadBalancerClass: text().optional().describe('Which load balancer.'),
  loadBalancerSourceRanges: z
    .array(text())
    .default([])
    .describe('CIDRs that the load balancer lets in; empty: all.'),
  externalTrafficPolicy: z
    .enum(['Cluster', 'Local'])
    .optional()
    .describe('`Local`: clients keep their address, and no second hop; only nodes with a broker answer.'),
  ipFamilyPolicy: z
    .enum(['SingleStack', 'PreferDualStack', 'RequireDualStack'])
    .optional()
    .describe('IPv4, IPv6 or both.'),
})

const listenerPort = (enabled, port, what) =>
  section({
    enabled: flag(enabled).describe(what),
    port: tcpPort.default(port).describe('Port of the service.'),
    nodePort: nodePort(),
    listener: z
      .any()
      .default({})
      .meta({ ours: 'listener', example: 'maxConnections: 5000' })
      .describe('Settings of this listener alone, over `listener`.'),
  })

const probe = (initialDelaySeconds, periodSeconds, failureThreshold) => ({
  initialDelaySeconds: count
    .default(initialDelaySeconds)
    .describe('Wait before the first question, in seconds.'),
  periodSeconds: positive.default(periodSeconds).describe('Between two questions, in seconds.'),
  timeoutSeconds: positive.default(3).describe('Deadline of an answer, in seconds.'),
  failureThreshold: positive.default(failureThreshold).describe('Failures in a row that count.'),
})

const resources = (of, requests) =>
  anything()
    .default(requests)
    .describe(`Resources of ${of}. A CPU limit throttles it in bursts; a broker uses one core for messages.`)

const podSecurity = (uid) => ({
  runAsNonRoot: true,
  runAsUser: uid,
  runAsGroup: uid,
  fsGroup: uid,
  fsGroupChangePolicy: 'OnRootMismatch',
  seccompProfile: { type: 'RuntimeDefault' },
})
const containerSecurity = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'] },
}

const volume = (enabled, of, size) => ({
  enabled: flag(enabled).describe(
    `Keep ${of} on a PersistentVolumeClaim. Without it, it is gone with the pod.`,
  ),
  accessModes: z.array(text()).default(['ReadWriteOnce']).describe('Access modes.'),
  size: text().default(size).describe('Size.'),
  storageClass: text().default('').describe('Storage class; empty: the default one; `-`: none.'),
  annotations: annotations('the claim'),
})

const tunnelPort = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$/)
      .describe('Name of the port.'),
    port: z.int().min(1_024).max(65_535).describe('Port of the broker; 1024 or more, as it is not root.'),
    servicePort: tcpPort.optional().describe('Port of the service; default: `port`.'),
    nodePort: nodePort(),
    to: z.any().meta({ ours: 'tunnel.to' }),
    mountpoint: z.any().optional().meta({ ours: 'tunnel.mountpoint' }),
    allow: z.any().optional().meta({ ours: 'tunnel.allow' }),
    maxConnections: z.any().optional().meta({ ours: 'tunnel.maxConnections' }),
    proxyProtocol: z.any().optional().meta({ ours: 'tunnel.proxyProtocol' }),
    trustedProxies: z.any().optional().meta({ ours: 'tunnel.trustedProxies' }),
  })
  .describe('One port.')

export const valuesSchema = z.strictObject({
  replicaCount: positive.default(1).describe('Brokers. More than one needs `store.type: redis`.'),
  image: section({
    repository: z.string().min(1).default('tunnelmq').describe('Image, with its registry.'),
    tag: text().default('').describe("Tag; default: the version of the chart's application."),
    digest: text().default('').describe('`sha256:...`, instead of the tag.'),
    pullPolicy: z
      .enum(['Always', 'IfNotPresent', 'Never'])
      .default('IfNotPresent')
      .describe('When it is pulled.'),
  }).describe('The container image (docker/Dockerfile).'),
  nameOverride: text().default('').describe("Takes the place of the chart's name in names."),
  fullnameOverride: text().default('').describe('Takes the place of the whole name.'),

  config: z
    .any()
    .default({})
    .meta({
      ours: 'config',
      example: 'session:\n  expiryMs: 604800000\nlimits:\n  maxConnectionsPerAddress: 100',
    })
    .describe(
      'Configuration of the broker, as in docs/configuration.md, in a ConfigMap. No secrets: those come from Secrets, by values below or by `additionalEnv`. What has a value of its own below (`listeners`, `store.type`, ...) is set there.',
    ),
  bindAddress: z
    .enum(['0.0.0.0', '::'])
    .default('0.0.0.0')
    .describe('Where brokers listen in their pods: `::` where the cluster has IPv6, alone or beside IPv4.'),
  additionalEnv: things()
    .default([])
    .meta({
      example:
        '- name: TUNNELMQ_AUTH_TIMEOUT_MS\n  valueFrom: { secretKeyRef: { name: mine, key: timeout } }',
    })
    .describe('More environment variables: `TUNNELMQ_<PATH>` sets any key of the configuration.'),
  envFrom: things()
    .default([])
    .meta({ example: '- secretRef: { name: tunnelmq-environment }' })
    .describe('Environment variables from ConfigMaps and Secrets.'),

  store: section({
    type: z
      .enum(['embedded', 'redis'])
      .default('embedded')
      .describe(
        '`embedded`: one broker with a disk (StatefulSet). `redis`: any number of brokers on one Redis (Deployment).',
      ),
  }).describe('Where sessions, queues and retained messages are kept.'),
  persistentVolume: section(volume(true, 'the embedded store', '5Gi')).describe(
    'The disk of the embedded store.',
  ),
  redis: section({
    url: text()
      .default('')
      .describe(
        'URL of an existing Redis 7 without a password in it: `redis://host:6379/0`, `rediss://` for TLS.',
      ),
    existingSecret: secretName('Secret with the URL or the password of an existing Redis.'),
    urlKey: text().default('').describe('Its key with the URL; empty: `redis.url` is used.'),
    usernameKey: text().default('').describe('Its key with the user name, if there is one.'),
    passwordKey: text().default('').describe('Its key with the password, if it is not in the URL.'),
    own: section({
      enabled: flag(false).describe(
        'Start a Redis with this chart: one pod, with an append-only file. For a trial.',
      ),
      image: section({
        repository: z.string().min(1).default('redis').describe('Image of Redis 7 or newer, or of Valkey.'),
        tag: z.string().min(1).default('7.4-alpine').describe('Tag.'),
        pullPolicy: z
          .enum(['Always', 'IfNotPresent', 'Never'])
          .default('IfNotPresent')
          .describe('When it is pulled.'),
      }).describe('Its image.'),
      existingSecret: secretName(
        'Secret with the key `password`. Without one, the chart makes a password and keeps it on upgrades (where helm can ask the cluster; not with `helm template`).',
      ),
      maxMemory: z
        .string()
        .regex(/^[0-9]+(kb|mb|gb)$/)
        .default('256mb')
        .describe('`maxmemory`; well below the limit of its memory.'),
      persistentVolume: section(volume(true, 'its append-only file', '2Gi')).describe('Its disk.'),
      resources: resources('Redis', {
        requests: { cpu: '100m', memory: '384Mi' },
        limits: { memory: '768Mi' },
      }),
      securityContext: anything().default(podSecurity(999)).describe('Security context of its pod.'),
    }).describe("The chart's own Redis."),
  }).describe('Redis, for `store.type: redis`. Sentinel, TLS, prefix: `config.store.redis`.'),

  listener: z
    .any()
    .default({})
    .meta({
      ours: 'listener',
      example: 'proxyProtocol: trusted\ntrustedProxies: [10.0.0.0/8]\nallowAnonymous: true',
    })
    .describe('Settings of all listeners: PROXY protocol, `allowAnonymous`, mountpoint, ...'),
  service: section({
    enabled: flag(true).describe('Make the service for MQTT clients.'),
    ...exposure('the service'),
    sessionAffinity: z
      .enum(['None', 'ClientIP'])
      .optional()
      .describe('Not needed: any broker serves any client.'),
    sessionAffinityConfig: anything().optional().describe('Its settings.'),
    mqtt: listenerPort(true, 1883, 'MQTT over TCP.'),
    mqtts: listenerPort(false, 8883, 'MQTT over TLS; needs `tls` or `certificates`.'),
    ws: listenerPort(false, 8083, 'MQTT over WebSocket, at /mqtt.'),
    wss: listenerPort(false, 8884, 'MQTT over WebSocket over TLS; needs `tls` or `certificates`.'),
    api: section({
      enabled: flag(true).describe(
        'Make a service for the API, the dashboard and the metrics (port 8080 of the brokers).',
      ),
      type: z
        .enum(['ClusterIP', 'NodePort', 'LoadBalancer'])
        .default('ClusterIP')
        .describe('How it is reached.'),
      port: tcpPort.default(8080).describe('Its port.'),
      nodePort: nodePort(),
      annotations: annotations('it'),
    }).describe('The service `<name>-api`.'),
  }).describe('Services.'),
  extraListeners: z
    .array(z.any().meta({ ours: 'extraListener' }))
    .default([])
    .meta({
      example:
        '- name: inside\n  type: tcp\n  port: 1884\n  mountpoint: plant/\n- name: coap\n  type: coap\n  port: 5683',
    })
    .describe(
      'More listeners: `name`, and a listener of docs/configuration.md. Each is a port of the service, too (of CoAP over UDP); `servicePort` and `nodePort` may be given. A `proxy` with `tls: {}` has the certificate of `tls` or `certificates`.',
    ),
  ingress: section({
    enabled: flag(false).describe('Make an Ingress for MQTT over WebSocket (`service.ws`).'),
    className: text().default('').describe('Ingress class.'),
    annotations: annotations('the Ingress: long time limits for reading belong there'),
    labels: labels('the Ingress'),
    hosts: z.array(text()).default([]).describe('Host names.'),
    paths: z
      .array(
        z.strictObject({
          path: z.string().startsWith('/'),
          pathType: z.enum(['ImplementationSpecific', 'Exact', 'Prefix']),
        }),
      )
      .default([{ path: '/mqtt', pathType: 'Prefix' }])
      .describe('Paths; the first part of `websocket.path`.'),
    tls: things()
      .default([])
      .meta({ example: '- secretName: mqtt-tls\n  hosts: [mqtt.example.com]' })
      .describe('TLS at the ingress controller.'),
  }).describe(
    'WebSocket through an ingress controller. Only HTTP passes there: MQTT over TCP needs a service.',
  ),

  tls: section({
    existingSecret: secretName(
      'Secret of type kubernetes.io/tls for `mqtts` and `wss`. It is read again when it changes.',
    ),
    minVersion: z.enum(['TLSv1.2', 'TLSv1.3']).default('TLSv1.2').describe('Lowest TLS version.'),
    clientCa: section({
      existingSecret: secretName(
        'Secret with the CA of client certificates: asks clients for one (mutual TLS).',
      ),
      key: z.string().min(1).default('ca.crt').describe('Its key.'),
      required: flag(true).describe('Refuse clients without a valid certificate.'),
    }).describe('Client certificates.'),
    certManager: section({
      enabled: flag(false).describe('Have cert-manager make the certificate.'),
      issuerRef: section({
        name: text().default('').describe('Name of the issuer.'),
        kind: z.enum(['Issuer', 'ClusterIssuer']).default('ClusterIssuer').describe('Its kind.'),
        group: text().default('cert-manager.io').describe('Its API group.'),
      }).describe('Who signs.'),
      dnsNames: z
        .array(text())
        .default([])
        .describe(
          'Names of the certificate. Those of the service inside the cluster are added with `serviceNames`.',
        ),
      serviceNames: flag(false).describe(
        'Add the names of the service inside the cluster; public issuers refuse them.',
      ),
      duration: text().default('2160h').describe('How long it is valid.'),
      renewBefore: text().default('720h').describe('How long before the end it is renewed.'),
      privateKey: anything()
        .default({ algorithm: 'ECDSA', size: 256, rotationPolicy: 'Always' })
        .describe('Kind of the key.'),
    }).describe('A Certificate of cert-manager.'),
  }).describe('TLS of `mqtts` and `wss`.'),
  certificates: section({
    cert: text().default('').describe('Certificate and chain (PEM).'),
    key: text()
      .default('')
      .describe(
        'Private key (PEM). It is then in the values of the release: a Secret or cert-manager is better.',
      ),
    ca: text().default('').describe('CA of client certificates (PEM).'),
    secret: section({ labels: labels('the Secret'), annotations: annotations('the Secret') }).describe(
      'The Secret that is made.',
    ),
  }).describe("A certificate in the values, as in VerneMQ's chart."),

  users: section({
    hashes: z
      .record(z.string().regex(/^[^:#\s][^:]*$/), z.string().regex(/^\$(6|7|scrypt)\$/))
      .default({})
      .meta({ example: 'alice: $scrypt$ln=14,r=8,p=1$...' })
      .describe(
        'Users and hashed passwords, in a Secret: lines of `tunnelmq passwd`, `mosquitto_passwd` or `vmq-passwd`, without the name.',
      ),
    existingSecret: secretName(
      'Secret with a whole password file instead. It is read again when it changes.',
    ),
    key: z.string().min(1).default('passwd').describe('Its key.'),
  }).describe('Who may connect. More ways: `config.handlers`, which are asked after these.'),
  acl: section({
    enabled: flag(false).describe(
      'Ask an ACL who may publish and subscribe to what. Without one, whoever is let in may do everything.',
    ),
    content: text()
      .default('topic #')
      .describe('The ACL, in the syntax of mosquitto and VerneMQ. It is read again when it changes.'),
    existingConfigMap: text().default('').describe('ConfigMap with the key `acl`, instead of `content`.'),
    dialect: z
      .enum(['vernemq', 'mosquitto'])
      .default('vernemq')
      .describe(
        'Rules before the first `user` hold for all (vernemq) or for clients without a name (mosquitto).',
      ),
    labels: labels('the ConfigMap'),
    annotations: annotations('the ConfigMap'),
  }).describe('Who may do what.'),
  admin: section({
    keys: section({
      content: text()
        .default('')
        .describe('Content of a keys file of `tunnelmq api-key` (hashes), in a Secret.'),
      existingSecret: secretName('Secret with a keys file instead. It is read again when it changes.'),
      key: z.string().min(1).default('keys').describe('Its key.'),
    }).describe('API keys. `tunnelmq` commands inside a pod need none.'),
  }).describe('API and dashboard. Other settings: `config.admin`.'),

  tunnel: section({
    listen: z
      .array(tunnelPort)
      .default([])
      .meta({ example: '- name: pi7-ssh\n  port: 2222\n  to: pi7/ssh\n  allow: [10.0.0.0/8]' })
      .describe(
        'TCP ports that lead into tunnels, in the service `<name>-tunnel`. `proxyProtocol` is by default that of `listener`.',
      ),
    service: section(exposure('the service of tunnel ports')).describe('The service `<name>-tunnel`.'),
  }).describe('Ports of tunnels. Other settings: `config.tunnel`.'),
  bridges: z
    .array(z.any().meta({ ours: 'bridge' }))
    .default([])
    .meta({
      example:
        '- name: old\n  url: mqtts://vernemq.example.com\n  existingSecret: { name: bridge-old, usernameKey: username, passwordKey: password }\n  topics: [{ filter: "#", direction: both }]',
    })
    .describe(
      'Bridges to other brokers, as `bridges` of docs/configuration.md; user and password from a Secret.',
    ),
  tracing: section({
    endpoint: text()
      .default('')
      .describe('OpenTelemetry: where spans are sent, as `http://collector:4318/v1/traces`.'),
    headersSecret: section({
      name: text()
        .default('')
        .describe('Secret with HTTP headers for it, as `{"authorization": "Bearer ..."}`.'),
      key: z.string().min(1).default('headers').describe('Its key.'),
    }).describe('Secret headers.'),
  }).describe('Traces. Other settings: `config.tracing`.'),

  drain: section({
    enabled: flag(true).describe(
      'Before a broker on Redis stops, ask its clients to leave one by one (`tunnelmq drain` as preStop).',
    ),
    spreadSeconds: count
      .default(30)
      .describe('Spread over this many seconds: connections / seconds is what the others have to bear.'),
  }).describe('Rolling updates. A single broker with a disk stops at once, as there is no other to go to.'),
  statefulset: section({
    podManagementPolicy: z
      .enum(['OrderedReady', 'Parallel'])
      .default('OrderedReady')
      .describe('Of the StatefulSet; not with Redis.'),
    updateStrategy: z
      .enum(['RollingUpdate', 'OnDelete', 'Recreate'])
      .default('RollingUpdate')
      .describe('`OnDelete` is for the StatefulSet, `Recreate` for the Deployment.'),
    terminationGracePeriodSeconds: z
      .int()
      .min(1)
      .optional()
      .describe(
        'Default: `drain.spreadSeconds`, 15 seconds for the last clients, `config.shutdown.timeoutMs`, and 10 more.',
      ),
    startupProbe: section(probe(0, 2, 150)).describe(
      '/live, until it answers: a large store may take minutes to open.',
    ),
    livenessProbe: section(probe(0, 10, 3)).describe('/live: of the process, not of Redis.'),
    readinessProbe: section(probe(0, 5, 2)).describe('/ready: gets new connections.'),
    podAnnotations: annotations('the pods'),
    podLabels: labels('the pods'),
    annotations: annotations('the StatefulSet or Deployment'),
    labels: labels('the StatefulSet or Deployment'),
    lifecycle: anything().default({}).describe('Takes the place of the preStop of `drain`.'),
    imagePullSecrets: z.array(text()).default([]).describe('Names of Secrets for pulling images.'),
  }).describe('The StatefulSet; with Redis, the Deployment.'),
  resources: resources('a broker', {
    requests: { cpu: '100m', memory: '128Mi' },
    limits: { memory: '512Mi' },
  }),
  securityContext: anything().default(podSecurity(1000)).describe('Security context of the pods.'),
  containerSecurityContext: anything()
    .default(containerSecurity)
    .describe('Security context of the containers.'),
  rbac: section({
    serviceAccount: section({
      create: flag(true).describe(
        'Make a service account. It has no rights and no token: a broker does not talk to Kubernetes.',
      ),
      name: text().default('').describe('Its name; default: that of the release.'),
      annotations: annotations('it'),
    }).describe('The service account of the pods.'),
  }).describe('Rights in Kubernetes: none.'),

  podAntiAffinity: z
    .enum(['soft', 'hard', 'none'])
    .default('soft')
    .describe('Brokers on different nodes: if possible, always, or not cared for.'),
  affinity: anything().default({}).describe('Takes the place of `podAntiAffinity`.'),
  topologySpreadConstraints: things()
    .default([])
    .meta({
      example:
        '- topologyKey: topology.kubernetes.io/zone\n  maxSkew: 1\n  whenUnsatisfiable: ScheduleAnyway',
    })
    .describe('Spread over zones; the selector of the pods is added where there is none.'),
  nodeSelector: strings().default({}).describe('Labels of nodes.'),
  tolerations: things().default([]).describe('Tolerations.'),
  priorityClassName: text().default('').describe('Priority class.'),
  pdb: section({
    enabled: flag(false).describe('Make a PodDisruptionBudget; needs more than one broker.'),
    minAvailable: z.union([count, text()]).default(1).describe('Brokers that stay.'),
    maxUnavailable: z.union([count, text()]).optional().describe('Brokers that may be away, instead; not 0.'),
  }).describe('How many brokers may be taken away at once.'),
  autoscaling: section({
    enabled: flag(false).describe(
      'Make a HorizontalPodAutoscaler; needs Redis. `replicaCount` is not used then.',
    ),
    minReplicas: positive.default(2).describe('Fewest brokers.'),
    maxReplicas: positive.default(6).describe('Most brokers.'),
    targetCPUUtilizationPercentage: count.default(70).describe('Of the requested CPU; 0: not looked at.'),
    targetMemoryUtilizationPercentage: count
      .default(0)
      .describe('Of the requested memory; 0: not looked at.'),
    metrics: things().default([]).describe('More metrics.'),
    behavior: anything()
      .default({
        scaleDown: {
          stabilizationWindowSeconds: 600,
          policies: [{ type: 'Pods', value: 1, periodSeconds: 300 }],
        },
      })
      .describe('How fast: each broker that goes moves its clients.'),
  }).describe('Number of brokers by load.'),
  networkPolicy: section({
    enabled: flag(false).describe('Make NetworkPolicies: what may reach the brokers, and Redis.'),
    clientsFrom: things()
      .default([])
      .describe('Peers that may reach MQTT and tunnel ports; empty: everyone.'),
    adminFrom: things()
      .default([])
      .meta({ example: '- namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: monitoring } }' })
      .describe("Peers that may reach API, dashboard and metrics; empty: nobody but the nodes' probes."),
  }).describe('Incoming traffic. Outgoing is not limited.'),
  serviceMonitor: section({
    create: flag(false).describe('Make a ServiceMonitor (Prometheus operator).'),
    labels: labels('it, which Prometheus selects it by'),
    interval: text().default('30s').describe('How often it is scraped.'),
    scrapeTimeout: text().default('10s').describe('Deadline.'),
    bearerTokenSecret: section({
      name: text().default('').describe('Secret with an API key, with `config.admin.metricsNeedKey`.'),
      key: z.string().min(1).default('token').describe('Its key.'),
    }).describe('API key of Prometheus.'),
    tlsConfig: anything()
      .default({})
      .meta({ example: 'ca: { secret: { name: mqtt-tls, key: ca.crt } }\nserverName: mqtt.example.com' })
      .describe('How Prometheus checks the certificate of `config.admin.tls`, which has no name of a pod.'),
    metricRelabelings: things().default([]).describe('Relabelings.'),
  }).describe('Metrics for Prometheus.'),
  prometheusRule: section({
    create: flag(false).describe('Make a PrometheusRule with the alerts of deploy/prometheus.'),
    labels: labels('it, which Prometheus selects it by'),
  }).describe('Alerts.'),
  grafanaDashboard: section({
    create: flag(false).describe('Make a ConfigMap with the dashboard of deploy/grafana.'),
    labels: strings()
      .default({ grafana_dashboard: '1' })
      .describe("Labels that Grafana's sidecar looks for."),
    annotations: annotations('it'),
  }).describe('Dashboard of Grafana.'),

  secretMounts: z
    .array(z.strictObject({ name: text(), secretName: text(), path: z.string().startsWith('/') }))
    .default([])
    .meta({ example: '- name: redis-ca\n  secretName: redis-ca\n  path: /etc/tunnelmq/redis-ca' })
    .describe('Secrets that are mounted.'),
  extraVolumes: things().default([]).describe('More volumes.'),
  extraVolumeMounts: things().default([]).describe('Where they are mounted.'),
  test: section({
    username: text()
      .default('')
      .describe(
        'User for `helm test`; without one, it publishes if `allowAnonymous`, and otherwise only looks for the refusal.',
      ),
    existingSecret: secretName('Secret with its password.'),
    key: z.string().min(1).default('password').describe('Its key.'),
    topic: z
      .string()
      .min(1)
      .default('tunnelmq/helm-test')
      .describe('Topic that it may publish and subscribe to.'),
  }).describe('`helm test` publishes and subscribes.'),
  global: z.record(z.string(), z.any()).optional().describe('Of a chart that this one is part of; not used.'),
})
