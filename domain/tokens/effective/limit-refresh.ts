/** Asked after a customer's subscription or grants have changed. */
export interface LimitRefresh {
  /**
   * Puts the customer's effective limits in force at once. Throws `RetryableError` when the meter can't take them: the change
   * itself has marked them due, so the renewal of limits does it later.
   */
  refresh(customerId: string): Promise<void>
}
