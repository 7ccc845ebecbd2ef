import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { openChart, type Rendering, type Values } from '../support/helm-chart.ts'

/** What values do, one row each; and what is refused, with what it says. */

const chart = openChart()

const rendered = new Map<string, Promise<Rendering>>()
/** The same values are rendered once. */
function render(values: readonly Values[]): Promise<Rendering> {
  const key = JSON.stringify(values)
  const rendering = rendered.get(key) ?? chart.render(...values)
  rendered.set(key, rendering)
  return rendering
}

function configOf(rendering: Rendering, name = 'mq-tunnelmq'): unknown {
  return parse((rendering.find('ConfigMap', name)['data'] as Record<string, string>)['tunnelmq.yaml'] ?? '')
}

const container = (fields: object): object => ({
  spec: { template: { spec: { containers: [expect.objectContaining(fields)] } } },
})
const pod = (fields: object): object => ({ spec: { template: { spec: fields } } })
const env = (...entries: object[]): object => container({ env: expect.arrayContaining(entries) as object })
const fromSecret = (name: string, secret: string, key: string): object => ({
  name,
  valueFrom: { secretKeyRef: { name: secret, key } },
})

/** [what it says, values, kind, name, what the object has] */
type Row = readonly [string, readonly Values[], string, string, object]

const rows: readonly Row[] = [
  [
    'one broker with a disk by default: a StatefulSet with a claim',
    [],
    'StatefulSet',
    'mq-tunnelmq',
    {
      spec: {
        replicas: 1,
        serviceName: 'mq-tunnelmq-headless',
        template: { spec: { terminationGracePeriodSeconds: 30 } },
        volumeClaimTemplates: [
          {
            metadata: { name: 'data' },
            spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '5Gi' } } },
          },
        ],
      },
    },
  ],
  [
    'the image of the version of the chart, and probes on the admin port',
    [],
    'StatefulSet',
    'mq-tunnelmq',
    {
      spec: {
        template: {
          spec: {
            containers: [
              {
                image: expect.stringMatching(/^tunnelmq:\d+\.\d+\.\d+$/) as string,
                startupProbe: { httpGet: { path: '/live', port: 'http' }, failureThreshold: 150 },
                livenessProbe: { httpGet: { path: '/live', port: 'http' } },
                readinessProbe: { httpGet: { path: '/ready', port: 'http' } },
              },
            ],
          },
        },
      },
    },
  ],
  [
    'a storage class and a size',
    ['single-embedded'],
    'StatefulSet',
    'mq-tunnelmq',
    {
      spec: {
        volumeClaimTemplates: [
          { spec: { storageClassName: 'fast', resources: { requests: { storage: '1Gi' } } } },
        ],
      },
    },
  ],
  [
    'no storage class at all for `-`',
    [{ persistentVolume: { storageClass: '-' } }],
    'StatefulSet',
    'mq-tunnelmq',
    { spec: { volumeClaimTemplates: [{ spec: { storageClassName: '' } }] } },
  ],
  [
    'an emptyDir without a persistent volume',
    [{ persistentVolume: { enabled: false } }],
    'StatefulSet',
    'mq-tunnelmq',
    {
      spec: {
        template: { spec: { volumes: expect.arrayContaining([{ name: 'data', emptyDir: {} }]) as object } },
      },
    },
  ],
  [
    'hashed users in a Secret',
    ['single-embedded'],
    'Secret',
    'mq-tunnelmq-users',
    { stringData: { passwd: 'alice:$scrypt$ln=14,r=8,p=1$ALICE\n' } },
  ],
  [
    'the ACL as it is written',
    ['single-embedded'],
    'ConfigMap',
    'mq-tunnelmq-acl',
    { data: { acl: 'topic read $SYS/#\nuser alice\ntopic #\n' } },
  ],
  [
    'several brokers on Redis: a Deployment, the new one first',
    ['redis-existing'],
    'Deployment',
    'mq-tunnelmq',
    {
      spec: {
        replicas: 3,
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      },
    },
  ],
  [
    'user and password of Redis from a Secret',
    ['redis-existing'],
    'Deployment',
    'mq-tunnelmq',
    env(
      fromSecret('TUNNELMQ_STORE_REDIS_USERNAME', 'redis-credentials', 'username'),
      fromSecret('TUNNELMQ_STORE_REDIS_PASSWORD', 'redis-credentials', 'password'),
    ),
  ],
  [
    'a drain before the stop, and time for both: 60 s, 15 s, 40 s and 10 s',
    ['redis-existing'],
    'Deployment',
    'mq-tunnelmq',
    {
      spec: {
        template: {
          spec: {
            terminationGracePeriodSeconds: 125,
            containers: [
              {
                lifecycle: {
                  preStop: { exec: { command: ['tunnelmq', 'drain', '--spread', '60s', '--wait'] } },
                },
              },
            ],
          },
        },
      },
    },
  ],
  [
    'own hooks instead of the drain',
    ['redis-existing', { statefulset: { lifecycle: { preStop: { sleep: { seconds: 5 } } } } }],
    'Deployment',
    'mq-tunnelmq',
    container({ lifecycle: { preStop: { sleep: { seconds: 5 } } } }),
  ],
  [
    'a spread over zones, with the selector of the brokers',
    ['redis-existing'],
    'Deployment',
    'mq-tunnelmq',
    pod({
      topologySpreadConstraints: [
        {
          topologyKey: 'topology.kubernetes.io/zone',
          labelSelector: { matchLabels: { 'app.kubernetes.io/component': 'broker' } },
        },
      ],
    }),
  ],
  [
    'a disruption budget',
    ['redis-existing'],
    'PodDisruptionBudget',
    'mq-tunnelmq',
    { spec: { minAvailable: 2 } },
  ],
  [
    'nodes apart where it is possible',
    ['redis-existing'],
    'Deployment',
    'mq-tunnelmq',
    pod({
      affinity: {
        podAntiAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            { podAffinityTerm: { topologyKey: 'kubernetes.io/hostname' } },
          ],
        },
      },
    }),
  ],
  [
    'nodes apart always',
    ['everything'],
    'Deployment',
    'plant',
    pod({
      affinity: {
        podAntiAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: 'kubernetes.io/hostname' }],
        },
      },
    }),
  ],
  [
    'the password of the own Redis, the same for both',
    ['redis-own'],
    'Deployment',
    'mq-tunnelmq',
    env(fromSecret('TUNNELMQ_STORE_REDIS_PASSWORD', 'mq-tunnelmq-redis', 'password')),
  ],
  [
    'a password of 32 characters where none is named',
    ['redis-own'],
    'Secret',
    'mq-tunnelmq-redis',
    { data: { password: expect.stringMatching(/^[A-Za-z0-9+/]{43}=$/) as string } },
  ],
  [
    'a Redis with an append-only file on a claim, that refuses when it is full',
    ['redis-own'],
    'ConfigMap',
    'mq-tunnelmq-redis',
    {
      data: {
        'redis.conf': expect.stringMatching(
          /appendonly yes\n[^]*maxmemory 128mb\n[^]*maxmemory-policy noeviction/,
        ) as string,
      },
    },
  ],
  [
    'a certificate of cert-manager',
    ['tls-ingress'],
    'Certificate',
    'mq-tunnelmq',
    {
      spec: {
        secretName: 'mq-tunnelmq-tls',
        issuerRef: { name: 'letsencrypt', kind: 'ClusterIssuer' },
        dnsNames: ['mqtt.example.com'],
      },
    },
  ],
  [
    'names inside the cluster in the certificate',
    ['tls-ingress', { tls: { certManager: { dnsNames: [], serviceNames: true } } }],
    'Certificate',
    'mq-tunnelmq',
    { spec: { dnsNames: ['mq-tunnelmq', 'mq-tunnelmq.plant', 'mq-tunnelmq.plant.svc'] } },
  ],
  [
    'WebSocket through the ingress controller',
    ['tls-ingress'],
    'Ingress',
    'mq-tunnelmq',
    {
      metadata: { annotations: { 'nginx.ingress.kubernetes.io/proxy-read-timeout': '3600' } },
      spec: {
        ingressClassName: 'nginx',
        rules: [
          {
            host: 'mqtt.example.com',
            http: {
              paths: [
                {
                  path: '/mqtt',
                  pathType: 'Prefix',
                  backend: { service: { name: 'mq-tunnelmq', port: { name: 'ws' } } },
                },
              ],
            },
          },
        ],
        tls: [{ secretName: 'mqtt-web-tls', hosts: ['mqtt.example.com'] }],
      },
    },
  ],
  [
    'only the ports that are turned on, also where the service has other numbers',
    ['tls-ingress'],
    'Service',
    'mq-tunnelmq',
    {
      spec: {
        type: 'ClusterIP',
        ports: [
          { name: 'mqtts', port: 8883, targetPort: 'mqtts', protocol: 'TCP' },
          { name: 'ws', port: 80, targetPort: 'ws', protocol: 'TCP' },
        ],
      },
    },
  ],
  [
    'a load balancer that keeps the addresses of clients, for whom it is told to',
    ['load-balancer'],
    'Service',
    'mq-tunnelmq',
    {
      metadata: { annotations: { 'service.beta.kubernetes.io/aws-load-balancer-proxy-protocol': '*' } },
      spec: {
        type: 'LoadBalancer',
        externalTrafficPolicy: 'Local',
        loadBalancerSourceRanges: ['192.0.2.0/24'],
        ports: [
          { name: 'mqtt', port: 1883 },
          { name: 'mqtts', port: 443 },
        ],
      },
    },
  ],
  [
    'ports of tunnels in a service of their own',
    ['load-balancer'],
    'Service',
    'mq-tunnelmq-tunnel',
    { spec: { type: 'LoadBalancer', ports: [{ name: 'pi7-ssh', port: 22, targetPort: 'pi7-ssh' }] } },
  ],
  [
    'ports on nodes',
    ['everything'],
    'Service',
    'plant',
    {
      metadata: { labels: { team: 'plant' } },
      spec: {
        type: 'NodePort',
        ports: expect.arrayContaining([
          { name: 'mqtt', port: 1883, targetPort: 'mqtt', protocol: 'TCP', nodePort: 31_883 },
          { name: 'inside', port: 1884, targetPort: 'inside', protocol: 'TCP' },
          { name: 'coap', port: 5683, targetPort: 'coap', protocol: 'UDP', nodePort: 31_683 },
          { name: 'socks', port: 1080, targetPort: 'socks', protocol: 'TCP' },
        ]) as object,
      },
    },
  ],
  [
    'the API in a service of its own',
    ['everything'],
    'Service',
    'plant-api',
    { spec: { type: 'NodePort', ports: [{ port: 8080, targetPort: 'http', nodePort: 31_080 }] } },
  ],
  [
    'the image by its digest, with Secrets for pulling it',
    ['everything'],
    'Deployment',
    'plant',
    pod({
      imagePullSecrets: [{ name: 'registry' }],
      containers: [
        { image: expect.stringMatching(/^registry\.example\.com\/tunnelmq@sha256:0123/) as string },
      ],
    }),
  ],
  [
    'secrets of bridges, traces and Redis in the environment',
    ['everything'],
    'Deployment',
    'plant',
    env(
      fromSecret('TUNNELMQ_STORE_REDIS_URL', 'redis', 'url'),
      fromSecret('TUNNELMQ_BRIDGES_0_USERNAME', 'bridge-old', 'username'),
      fromSecret('TUNNELMQ_BRIDGES_0_PASSWORD', 'bridge-old', 'password'),
      fromSecret('TUNNELMQ_TRACING_HEADERS', 'collector', 'headers'),
      { name: 'TUNNELMQ_LOG_LEVEL', value: 'debug' },
    ),
  ],
  [
    'own volumes, labels, tolerations and what else pods have',
    ['everything'],
    'Deployment',
    'plant',
    {
      metadata: { labels: { team: 'plant' } },
      spec: {
        template: {
          metadata: { labels: { team: 'plant' }, annotations: { 'example.com/note': 'hello' } },
          spec: {
            serviceAccountName: 'plant-broker',
            priorityClassName: 'important',
            nodeSelector: { 'kubernetes.io/os': 'linux' },
            tolerations: [{ key: 'edge', operator: 'Exists' }],
            volumes: expect.arrayContaining([
              { name: 'scratch', emptyDir: {} },
              { name: 'redis-ca', secret: { secretName: 'redis-ca', defaultMode: 0o440 } },
            ]) as object,
          },
        },
      },
    },
  ],
  [
    'a number of brokers by load, which goes down slowly',
    ['everything'],
    'HorizontalPodAutoscaler',
    'plant',
    {
      spec: {
        scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'plant' },
        minReplicas: 2,
        maxReplicas: 6,
        metrics: [
          { type: 'Resource', resource: { name: 'cpu', target: { averageUtilization: 70 } } },
          { type: 'Resource', resource: { name: 'memory', target: { averageUtilization: 80 } } },
        ],
        behavior: { scaleDown: { stabilizationWindowSeconds: 600 } },
      },
    },
  ],
  [
    'brokers that may be away',
    ['everything'],
    'PodDisruptionBudget',
    'plant',
    { spec: { maxUnavailable: 1 } },
  ],
  [
    'a network policy: clients, and the admin port for who is named',
    ['everything'],
    'NetworkPolicy',
    'plant',
    {
      spec: {
        policyTypes: ['Ingress'],
        ingress: [
          {
            ports: [1883, 8883, 8083, 8884, 1884, 5683, 1080, 2222, 8088].map((port) => ({
              port,
              protocol: port === 5683 ? 'UDP' : 'TCP',
            })),
            from: [
              { ipBlock: { cidr: '10.0.0.0/8' } },
              { podSelector: { matchLabels: { 'app.kubernetes.io/component': 'test' } } },
            ],
          },
          {
            ports: [{ port: 8080, protocol: 'TCP' }],
            from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }],
          },
        ],
      },
    },
  ],
  [
    'Redis for the brokers alone',
    ['redis-own', { networkPolicy: { enabled: true } }],
    'NetworkPolicy',
    'mq-tunnelmq-redis',
    {
      spec: {
        ingress: [
          {
            ports: [{ port: 6379, protocol: 'TCP' }],
            from: [{ podSelector: { matchLabels: { 'app.kubernetes.io/component': 'broker' } } }],
          },
        ],
      },
    },
  ],
  [
    'a ServiceMonitor with its key, of the service that has every broker',
    ['everything'],
    'ServiceMonitor',
    'plant',
    {
      metadata: { labels: { release: 'prometheus' } },
      spec: {
        selector: { matchLabels: { 'tunnelmq.dev/metrics': 'true' } },
        namespaceSelector: { matchNames: ['plant'] },
        endpoints: [
          {
            port: 'http',
            path: '/metrics',
            authorization: { credentials: { name: 'prometheus-key', key: 'token' } },
          },
        ],
      },
    },
  ],
  [
    'a ServiceMonitor that knows the certificate of the admin server',
    [
      {
        serviceMonitor: { create: true, tlsConfig: { serverName: 'mq.plant' } },
        config: { admin: { tls: { cert: '/c', key: '/k' } } },
      },
    ],
    'ServiceMonitor',
    'mq-tunnelmq',
    { spec: { endpoints: [{ scheme: 'https', tlsConfig: { serverName: 'mq.plant' } }] } },
  ],
  [
    'the alerts, with the templates that are of Prometheus',
    ['everything'],
    'PrometheusRule',
    'plant',
    {
      spec: {
        groups: expect.arrayContaining([
          expect.objectContaining({
            rules: expect.arrayContaining([
              expect.objectContaining({
                alert: expect.stringMatching(/^TunnelMQ/) as string,
                annotations: expect.objectContaining({
                  summary: expect.stringContaining('{{ $labels.') as string,
                }) as object,
              }),
            ]) as object,
          }),
        ]) as object,
      },
    },
  ],
  [
    'the dashboard, where the sidecar finds it',
    ['everything'],
    'ConfigMap',
    'plant-dashboard',
    {
      metadata: { labels: { grafana_dashboard: '1' } },
      data: { 'tunnelmq.json': expect.stringMatching(/^\{[^]*"panels"[^]*\}\s*$/) as string },
    },
  ],
  [
    'HTTPS for probes where the admin port has TLS',
    [{ config: { admin: { tls: { cert: '/tls/tls.crt', key: '/tls/tls.key' } } } }],
    'StatefulSet',
    'mq-tunnelmq',
    container({
      livenessProbe: expect.objectContaining({
        httpGet: { path: '/live', port: 'http', scheme: 'HTTPS' },
      }) as object,
    }),
  ],
]

describe('values give', () => {
  it.each(rows)('%s', async (_title, values, kind, name, expected) => {
    expect((await render(values)).find(kind, name)).toMatchObject(expected)
  })
})

describe('values leave out', () => {
  const lifecycle = 'spec.template.spec.containers.0.lifecycle'

  it.each<readonly [string, readonly Values[], string, string]>([
    ['a drain of the only broker', [], 'StatefulSet', lifecycle],
    [
      'a drain that is not wanted',
      ['redis-existing', { drain: { enabled: false } }],
      'Deployment',
      lifecycle,
    ],
    [
      'a claim without a persistent volume',
      [{ persistentVolume: { enabled: false } }],
      'StatefulSet',
      'spec.volumeClaimTemplates',
    ],
    ['a claim with Redis', ['redis-existing'], 'Deployment', 'spec.volumeClaimTemplates'],
    ['a fixed number of brokers with autoscaling', ['everything'], 'Deployment', 'spec.replicas'],
    ['the one bound of a budget with the other', ['everything'], 'PodDisruptionBudget', 'spec.minAvailable'],
    ['affinity', ['load-balancer'], 'StatefulSet', 'spec.template.spec.affinity'],
  ])('%s', async (_title, values, kind, path) => {
    const found = (await render(values)).objects.filter((object) => object.kind === kind)
    expect(found.filter((one) => !one.metadata.name.endsWith('-redis'))).toHaveLength(1)
    expect(found[0]).not.toHaveProperty(path)
  })

  it('what is not asked for', async () => {
    const { objects } = await render([])
    expect(objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`).toSorted()).toEqual([
      'ConfigMap mq-tunnelmq',
      'Pod mq-tunnelmq-test',
      'Service mq-tunnelmq',
      'Service mq-tunnelmq-api',
      'Service mq-tunnelmq-headless',
      'ServiceAccount mq-tunnelmq',
      'StatefulSet mq-tunnelmq',
    ])
  })
})

describe('the configuration has', () => {
  it.each<readonly [string, readonly Values[], string, object]>([
    [
      'the disk, users before rights, and large numbers in full',
      ['single-embedded'],
      'mq-tunnelmq',
      {
        store: { type: 'embedded', path: '/var/lib/tunnelmq/data' },
        handlers: [
          { type: 'password-file', file: '/etc/tunnelmq/users/passwd' },
          { type: 'acl-file', file: '/etc/tunnelmq/acl/acl', dialect: 'vernemq' },
        ],
        session: { expiryMs: 604_800_000 },
        admin: { host: '0.0.0.0', port: 8080, localKeyFile: '/run/tunnelmq/admin.key' },
      },
    ],
    [
      'what config says of Redis, beside its URL',
      ['redis-existing'],
      'mq-tunnelmq',
      {
        store: {
          type: 'redis',
          redis: { url: 'redis://redis.data.svc:6379/2', keyPrefix: '{plant}:', waitReplicas: 1 },
        },
        handlers: [{ type: 'password-file', file: '/etc/tunnelmq/users/users.txt' }],
      },
    ],
    [
      'the PROXY protocol on listeners and ports of tunnels',
      ['load-balancer'],
      'mq-tunnelmq',
      {
        listeners: [
          { name: 'mqtt', proxyProtocol: 'trusted', trustedProxies: ['10.0.0.0/8', 'fd00::/8'] },
          {
            name: 'mqtts',
            proxyProtocol: 'trusted',
            tls: { cert: '/etc/tunnelmq/tls/tls.crt', key: '/etc/tunnelmq/tls/tls.key' },
          },
        ],
        tunnel: {
          listen: [
            {
              bind: '0.0.0.0:2222',
              to: 'pi7/ssh',
              allow: ['198.51.100.0/24'],
              proxyProtocol: 'trusted',
              trustedProxies: ['10.0.0.0/8', 'fd00::/8'],
            },
          ],
        },
      },
    ],
    [
      'certificates of clients, and settings of one listener alone',
      ['tls-ingress'],
      'mq-tunnelmq',
      {
        listeners: [
          {
            type: 'tls',
            allowAnonymous: true,
            tls: { clientCa: '/etc/tunnelmq/client-ca/ca.crt', minVersion: 'TLSv1.3' },
          },
          { type: 'ws', trustedProxies: ['10.0.0.0/8'], websocket: { path: '/mqtt' } },
        ],
      },
    ],
    [
      'bridges, traces, keys and handlers, in their order',
      ['everything'],
      'plant',
      {
        bridges: [
          { name: 'old', url: 'mqtts://vernemq.example.com', topics: [{ filter: '#', direction: 'both' }] },
        ],
        tracing: { endpoint: 'http://collector.monitoring.svc:4318/v1/traces', sampleOneIn: 1_000 },
        admin: { keysFile: '/etc/tunnelmq/keys/keys', host: '::' },
        handlers: [
          { type: 'password-file' },
          { type: 'acl-file' },
          { type: 'scram' },
          { type: 'anonymous', allow: false },
        ],
      },
    ],
    [
      'for each listener those of the settings of all that it has',
      ['everything'],
      'plant',
      {
        listeners: expect.arrayContaining([
          { name: 'coap', type: 'coap', host: '::', port: 5683, coap: { maxRequests: 64 } },
          {
            name: 'socks',
            type: 'proxy',
            host: '::',
            port: 1080,
            proxyProtocol: 'trusted',
            trustedProxies: ['10.0.0.0/8'],
            tls: expect.objectContaining({ cert: '/etc/tunnelmq/tls/tls.crt' }) as object,
          },
        ]) as object,
      },
    ],
  ])('%s', async (_title, values, name, expected) => {
    expect(configOf(await render(values), name)).toMatchObject(expected)
  })

  it('nothing of the values that belong to Kubernetes', async () => {
    const text = JSON.stringify(configOf(await render(['everything']), 'plant'))
    for (const key of ['existingSecret', 'servicePort', 'nodePort']) expect(text).not.toContain(key)
  })

  it('a checksum in the pods, so that a change starts new ones, and a change of the ACL does not', async () => {
    const checksum = async (...values: Values[]): Promise<unknown> => {
      const { spec } = (await render(values)).find('StatefulSet')
      const { annotations = {} } = (
        spec as { template: { metadata: { annotations?: Record<string, string> } } }
      ).template.metadata
      return annotations['checksum/config']
    }
    const before = await checksum('single-embedded')
    expect(await checksum('single-embedded', { acl: { content: 'topic read #' } })).toBe(before)
    expect(await checksum('single-embedded', { config: { limits: { maxConnections: 9 } } })).not.toBe(before)
  })
})

describe('NOTES say', () => {
  it.each<readonly [string, readonly Values[], RegExp]>([
    ['that nobody can connect yet', [], /NOBODY CAN CONNECT YET/],
    ['that everybody can', ['redis-own'], /EVERYBODY may connect/],
    ['that there is no ACL', ['redis-existing'], /There is no ACL/],
    ['what is lost with the pod', [{ persistentVolume: { enabled: false } }], /GONE WITH THE POD/],
    ['how to test', [], /helm -n plant test mq\n/],
    [
      'where clients connect',
      ['tls-ingress'],
      / {2}mqtts {2}mq-tunnelmq\.plant:8883\n[^]*wss:\/\/mqtt\.example\.com\/mqtt/,
    ],
    ['where tunnels lead', ['load-balancer'], /Port 22 of mq-tunnelmq-tunnel leads to pi7\/ssh/],
  ])('%s', async (_title, values, expected) => {
    expect((await render(values)).notes).toMatch(expected)
  })
})

describe('names', () => {
  it('of StatefulSets leave room for the label that their pods get, however long the release is called', async () => {
    const { objects } = await render(['redis-own', { fullnameOverride: 'a'.repeat(60) }])
    const one = await render([{ fullnameOverride: 'a'.repeat(60) }])
    const names = [...objects, ...one.objects]
      .filter(({ kind }) => kind === 'StatefulSet')
      .map(({ metadata }) => metadata.name)
    expect(names).toHaveLength(2)
    // controller-revision-hash: the name, `-` and ten characters, of 63.
    expect(names.filter((name) => name.length > 52)).toEqual([])
  })
})

describe('`helm test`', () => {
  const onlyTls = { service: { mqtt: { enabled: false }, mqtts: { enabled: true } } }
  it('goes by TLS where that is all there is, and is not there where it has no way in', async () => {
    const values = [{ ...onlyTls, tls: { existingSecret: 'mqtt-tls' } }]
    expect((await render(values)).find('Pod')).toMatchObject({
      spec: {
        containers: [
          {
            env: expect.arrayContaining([
              { name: 'MQTT_PORT', value: '8883' },
              { name: 'MQTT_TLS', value: 'true' },
            ]) as object,
          },
        ],
      },
    })
    const mutual = {
      ...onlyTls,
      tls: { existingSecret: 'mqtt-tls', clientCa: { existingSecret: 'device-ca' } },
    }
    const { objects } = await render([mutual])
    expect(objects.filter(({ kind }) => kind === 'Pod')).toEqual([])
  })
})

describe('refused, with what to do:', () => {
  const redis = { store: { type: 'redis' }, redis: { url: 'redis://r/0' } }

  it.each<readonly [string, object, RegExp]>([
    ['two brokers with one disk', { replicaCount: 2 }, /replicaCount: 2 needs store\.type: redis/],
    [
      'autoscaling with one disk',
      { autoscaling: { enabled: true } },
      /autoscaling\.enabled needs store\.type: redis/,
    ],
    [
      'Redis that is nowhere',
      { store: { type: 'redis' } },
      /needs redis\.url, or redis\.existingSecret with redis\.urlKey/,
    ],
    ['two Redis', { ...redis, redis: { url: 'redis://r/0', own: { enabled: true } } }, /choose one Redis/],
    [
      'a Redis of its own without the store',
      { redis: { own: { enabled: true } } },
      /needs store\.type: redis/,
    ],
    ['a password in the URL', { ...redis, redis: { url: 'redis://:secret@r/0' } }, /put it into a Secret/],
    [
      'a key without its Secret',
      { ...redis, redis: { url: 'redis://r/0', passwordKey: 'p' } },
      /redis\.existingSecret, which is not set/,
    ],
    [
      'a Secret without a key',
      { ...redis, redis: { url: 'redis://r/0', existingSecret: 's' } },
      /say what is in it/,
    ],
    [
      'listeners in config',
      { config: { listeners: [{ type: 'tcp', port: 1 }] } },
      /config\.listeners: use service\.mqtt/,
    ],
    ['the store in config', { config: { store: { type: 'redis' } } }, /config\.store\.type: use store\.type/],
    [
      'a password in config',
      { config: { store: { redis: { sentinel: { nodes: ['a:1'], password: 'x' } } } } },
      /sentinel\.password would be readable/,
    ],
    [
      'a passphrase at a listener',
      { service: { mqtts: { listener: { tls: { passphrase: 'x' } } } } },
      /service\.mqtts\.listener\.tls\.passphrase would be readable/,
    ],
    [
      'headers of a webhook',
      { config: { handlers: [{ type: 'http', endpoints: ['http://h'], headers: { authorization: 'x' } }] } },
      /config\.handlers\.0\.headers would be readable/,
    ],
    [
      'a password in the URL of a webhook',
      { config: { handlers: [{ type: 'http', endpoints: ['http://u:p@h'] }] } },
      /config\.handlers\.0\.endpoints\.0 has a password in its URL/,
    ],
    [
      'a passphrase of a bridge',
      {
        bridges: [
          {
            name: 'b',
            url: 'mqtts://h',
            topics: [{ filter: '#' }],
            tls: { cert: 'c', key: 'k', passphrase: 'x' },
          },
        ],
      },
      /bridges\.0\.tls\.passphrase would be readable/,
    ],
    [
      'a password in a bridge',
      { bridges: [{ name: 'b', url: 'mqtt://u:p@h', topics: [{ filter: '#' }] }] },
      /url of b has a password/,
    ],
    [
      'TLS without a certificate',
      { service: { wss: { enabled: true } } },
      /service\.wss\.enabled needs a certificate/,
    ],
    [
      'two certificates',
      { tls: { existingSecret: 'a' }, certificates: { cert: 'c', key: 'k' } },
      /choose one certificate: tls\.existingSecret and certificates/,
    ],
    ['a certificate without its key', { certificates: { cert: 'c' } }, /needs both cert and key/],
    [
      'cert-manager without an issuer',
      { tls: { certManager: { enabled: true } } },
      /needs tls\.certManager\.issuerRef\.name/,
    ],
    ['trust without addresses', { listener: { proxyProtocol: 'trusted' } }, /needs trustedProxies/],
    [
      'two ports with one number',
      { extraListeners: [{ name: 'x', type: 'tcp', port: 1883 }] },
      /mqtt and x have the same port, 1883/,
    ],
    [
      'no listener, whose network policy would let everybody to the API',
      { service: { mqtt: { enabled: false } }, networkPolicy: { enabled: true } },
      /there is no listener: enable service\.mqtt/,
    ],
    [
      'two ports of the service with one number',
      { extraListeners: [{ name: 'x', type: 'tcp', port: 1884, servicePort: 1883 }] },
      /mqtt and x have the same port of the service, 1883/,
    ],
    ['an ingress to nothing', { ingress: { enabled: true, hosts: ['h'] } }, /needs service\.ws\.enabled/],
    ['a budget of one broker', { pdb: { enabled: true } }, /keep its node from ever being drained/],
    [
      'a budget of all brokers',
      { ...redis, replicaCount: 2, pdb: { enabled: true, minAvailable: 2 } },
      /would keep nodes from ever being drained/,
    ],
    [
      'a budget of all that may be left',
      { ...redis, autoscaling: { enabled: true, minReplicas: 2 }, pdb: { enabled: true, minAvailable: 2 } },
      /pdb\.minAvailable: 2 of autoscaling\.minReplicas: 2 would keep nodes/,
    ],
    [
      'a budget of every broker in percent',
      { ...redis, replicaCount: 3, pdb: { enabled: true, minAvailable: '100%' } },
      /pdb\.minAvailable: 100% of replicaCount: 3 would keep nodes/,
    ],
    [
      'a budget of more than half of two',
      { ...redis, replicaCount: 2, pdb: { enabled: true, minAvailable: '51%' } },
      /pdb\.minAvailable: 51% of replicaCount: 2 would keep nodes/,
    ],
    [
      'a budget that lets nobody go',
      { ...redis, replicaCount: 2, pdb: { enabled: true, maxUnavailable: 0 } },
      /pdb\.maxUnavailable: 0 would keep nodes/,
    ],
    [
      'a drain that nobody would answer',
      { ...redis, config: { admin: { api: false } } },
      /config\.admin\.api: false would leave `tunnelmq drain` without an answer/,
    ],
    [
      'a password in the URL of the collector',
      { tracing: { endpoint: 'https://user:secret@collector/v1/traces' } },
      /tracing\.endpoint has a user or password in it/,
    ],
    [
      'too little time',
      { ...redis, statefulset: { terminationGracePeriodSeconds: 30 } },
      /30 is too short: .* need 65/,
    ],
    [
      'a strategy of the other kind',
      { ...redis, statefulset: { updateStrategy: 'OnDelete' } },
      /OnDelete is for a StatefulSet/,
    ],
    ['no admin port', { config: { admin: { enabled: false } } }, /would leave the probes without an answer/],
    ['an unknown value', { replicas: 2 }, /additional properties 'replicas' not allowed/],
    [
      'an unknown key of the configuration',
      { config: { limits: { maxConnection: 2 } } },
      /'\/config\/limits': additional properties 'maxConnection'/,
    ],
    [
      'a number that is none',
      { service: { mqtt: { port: 'mqtt' } } },
      /'\/service\/mqtt\/port': got string, want integer/,
    ],
    ['a password that is not hashed', { users: { hashes: { alice: 'secret' } } }, /'\/users\/hashes\/alice'/],
    [
      'a port that needs root',
      { tunnel: { listen: [{ name: 'ssh', port: 22, to: 'pi7/ssh' }] } },
      /'\/tunnel\/listen\/0\/port': minimum/,
    ],
    ['an unknown store', { store: { type: 'memory' } }, /'\/store\/type': value must be one of/],
  ])('%s', async (_title, values, expected) => {
    expect(await chart.refusal(values)).toMatch(expected)
  })
})
