import { BlockList } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { isPublicAddress } from './public-address.ts'

const PUBLIC = [
  '1.1.1.1',
  '9.255.255.255',
  '11.0.0.0',
  '100.63.255.255',
  '100.128.0.0',
  '172.15.255.255',
  '172.32.0.0',
  '192.167.255.255',
  '198.17.255.255',
  '198.20.0.0',
  '223.255.255.255',
  '2000::1',
  '2606:4700:4700::1111',
  '2A00:1450:4001:0830:0000:0000:0000:200e'
]
const REFUSED = [
  '0.0.0.0',
  '10.0.0.1',
  '100.64.0.1',
  '100.100.100.200',
  '127.0.0.1',
  '127.255.255.254',
  '168.63.129.16',
  '169.254.169.254',
  '172.16.0.1',
  '172.31.255.255',
  '192.0.0.192',
  '192.0.2.1',
  '192.168.1.1',
  '198.18.0.1',
  '198.51.100.7',
  '203.0.113.9',
  '224.0.0.1',
  '240.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '0:0:0:0:0:0:0:1',
  '::ffff:127.0.0.1',
  '::ffff:7f00:1',
  '::ffff:8.8.8.8',
  '::127.0.0.1',
  '64:ff9b::a00:1',
  '64:ff9b:1::1',
  '100::1',
  '2001::1',
  '2001:db8::1',
  '2002:7f00:1::',
  '3fff::1',
  '5f00::1',
  'fd00::1',
  'fd00:ec2::254',
  'fc00::1',
  'fe80::1',
  'fec0::1',
  'ff02::1'
]
const NO_ADDRESSES = [
  '',
  'localhost',
  '1.2.3',
  '1.2.3.256',
  '1.1.1.1 ',
  'fe80::1%eth0',
  '[::1]',
  '1::2::3',
  ':::',
  '2606'
]

t.test('what is not reachable from everywhere is refused, and so is what is no address', async (t) => {
  for (const address of PUBLIC) t.ok(isPublicAddress(address), address)
  for (const address of [...REFUSED, ...NO_ADDRESSES]) t.notOk(isPublicAddress(address), address)
})

t.test("addresses are compared to networks as Node's own list compares them", async (t) => {
  const list = new BlockList()
  const ipv4 = [
    ['0.0.0.0', 8],
    ['10.0.0.0', 8],
    ['100.64.0.0', 10],
    ['127.0.0.0', 8],
    ['168.63.129.16', 32],
    ['169.254.0.0', 16],
    ['172.16.0.0', 12],
    ['192.0.0.0', 24],
    ['192.0.2.0', 24],
    ['192.88.99.0', 24],
    ['192.168.0.0', 16],
    ['198.18.0.0', 15],
    ['198.51.100.0', 24],
    ['203.0.113.0', 24],
    ['224.0.0.0', 3]
  ] as const
  for (const [address, length] of ipv4) list.addSubnet(address, length)
  const publicIpv6 = new BlockList()
  publicIpv6.addSubnet('2000::', 3, 'ipv6')
  const ipv6 = [
    ['2001::', 23],
    ['2001:db8::', 32],
    ['2002::', 16],
    ['3fff::', 20]
  ] as const
  for (const [address, length] of ipv6) list.addSubnet(address, length, 'ipv6')
  const ofIpv4 = fc.property(fc.ipV4(), (address) => isPublicAddress(address) === !list.check(address))
  t.doesNotThrow(() => fc.assert(ofIpv4))
  const group = fc.oneof(fc.nat(0xffff), fc.constantFrom(0, 0x2000, 0x2001, 0x2002, 0xdb8, 0x3fff, 0xfe80))
  const groups = fc.array(group, { minLength: 8, maxLength: 8 })
  const ofIpv6 = fc.property(groups, (parts) => {
    const address = parts.map((part) => part.toString(16)).join(':')
    const isPublic = publicIpv6.check(address, 'ipv6') && !list.check(address, 'ipv6')
    return isPublicAddress(address) === isPublic
  })
  t.doesNotThrow(() => fc.assert(ofIpv6))
})
