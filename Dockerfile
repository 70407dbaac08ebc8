# One image for all of our processes; docker-compose.yml says which of them a container runs. Node runs the TypeScript
# itself: there is no build step, and the second stage takes the sources as they are.
FROM node:24.11.1-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# Optional packages bring a Node for machines that lack one; the image is one that has it.
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM node:24.11.1-bookworm-slim
ENV NODE_ENV=production API_HOST=0.0.0.0 API_PORT=8080
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY . .
USER node
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=12 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.API_PORT}/readyz`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "api/main.ts"]
