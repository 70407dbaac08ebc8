import t from 'tap'
import { judgeUrl } from './endpoint-url.ts'

const REFUSED = [
  'http://hooks.example.com/',
  'ftp://hooks.example.com/',
  'file:///etc/passwd',
  'javascript:alert(1)',
  'hooks.example.com/path',
  '//hooks.example.com/',
  '',
  'https://',
  'https://user@hooks.example.com/',
  'https://user:secret@hooks.example.com/',
  'https://hooks.example.com/#part',
  `https://hooks.example.com/${'a'.repeat(2_048)}`,
  'https://localhost/',
  'https://LOCALHOST./',
  'https://api.localhost/',
  'https://db/',
  'https://printer.local/',
  'https://metadata.google.internal/computeMetadata/v1/',
  'https://1.0.0.127.in-addr.arpa/',
  'https://127.0.0.1/',
  'https://127.1/',
  'https://2130706433/',
  'https://017700000001/',
  'https://0x7f000001/',
  'https://0x7f.0.0.1/',
  'https://0177.0.0.1/',
  'https://127.0.0.1./',
  'https://１２７.0.0.1/',
  'https://%31%32%37.0.0.1/',
  'https://127。0。0。1/',
  'https://0/',
  'https://0.0.0.0/',
  'https://10.1.2.3/',
  'https://100.64.0.1/',
  'https://169.254.169.254/latest/meta-data/',
  'https://2852039166/latest/meta-data/',
  'https://192.168.0.1:8443/',
  'https://[::1]/',
  'https://[::]/',
  'https://[::ffff:127.0.0.1]/',
  'https://[::ffff:a9fe:a9fe]/',
  'https://[64:ff9b::7f00:1]/',
  'https://[2002:7f00:1::]/',
  'https://[fd00::1]/',
  'https://[fe80::1]/',
  'https://[fe80::1%25eth0]/',
  'https://256.1.1.1/'
]

t.test('URLs that lead into a network, carry credentials or are not https are refused', async (t) => {
  for (const url of REFUSED) t.type(judgeUrl(url, { allowPrivate: false }).fault, 'string', url)
})

t.test('others pass, with the host that is to be looked up', async (t) => {
  const rules = { allowPrivate: false }
  t.same(judgeUrl('https://Hooks.Example.com.:8443/a?b=c', rules), {
    url: 'https://hooks.example.com.:8443/a?b=c',
    host: 'hooks.example.com'
  })
  t.same(judgeUrl('https://bücher.example/', rules), {
    url: 'https://xn--bcher-kva.example/',
    host: 'xn--bcher-kva.example'
  })
  t.same(judgeUrl('https://1.1.1.1/', rules), { url: 'https://1.1.1.1/', host: null })
  t.same(judgeUrl('https://[2606:4700::1]/', rules), { url: 'https://[2606:4700::1]/', host: null })
})

t.test('development may use http and private addresses, and no credentials all the same', async (t) => {
  const rules = { allowPrivate: true }
  t.equal(judgeUrl('http://127.0.0.1:8080/', rules).fault, undefined)
  t.equal(judgeUrl('http://localhost/', rules).fault, undefined)
  t.type(judgeUrl('http://user@localhost/', rules).fault, 'string')
  t.type(judgeUrl('ftp://localhost/', rules).fault, 'string')
})
